"""What the command line understands, as data: completions and the man page are made from it.

Read from argparse's parsers by the attributes that its own help is printed from (`argparse.py`:
`_actions`, `_choices_actions`): there is no public way, and other generators use the same.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Option:
    """An option, or an operand: what is given by its place alone."""

    flags: tuple[str, ...]
    """As they are typed; none for an operand."""
    metavar: str
    """What its value is called; empty where it takes none."""
    help: str
    choices: tuple[str, ...]
    takes_many: bool
    """Whether several values may follow it."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command, or the program itself."""

    path: tuple[str, ...]
    """The words that lead to it; none for the program itself."""
    purpose: str
    """In a few words."""
    description: str
    options: tuple[Option, ...]
    operands: tuple[Option, ...]
    commands: tuple[Command, ...]

    def all(self) -> Iterator[Command]:
        """Yield this command and all below it, in the order of the help."""
        yield self
        for each in self.commands:
            yield from each.all()


def grammar(parser: argparse.ArgumentParser) -> Command:
    """Return what *parser* understands."""
    return _command(parser, (), "")


def _command(parser: argparse.ArgumentParser, path: tuple[str, ...], purpose: str) -> Command:
    options: list[Option] = []
    operands: list[Option] = []
    commands: list[Command] = []
    for action in parser._actions:  # noqa: SLF001
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            purposes = {each.dest: each.help or "" for each in action._choices_actions}  # noqa: SLF001
            commands += (
                _command(each, (*path, name), purposes.get(name, ""))
                for name, each in action.choices.items()
            )
        elif action.help != argparse.SUPPRESS:
            (options if action.option_strings else operands).append(_option(parser, action))
    description = parser.description or ""
    return Command(path, purpose, description, tuple(options), tuple(operands), tuple(commands))


def _option(parser: argparse.ArgumentParser, action: argparse.Action) -> Option:
    text = parser._get_formatter()._expand_help(action) if action.help else ""  # noqa: SLF001
    choices = tuple(map(str, action.choices or ()))
    metavar = action.metavar if isinstance(action.metavar, str) else "|".join(choices)
    takes_value = action.nargs != 0
    name = (metavar or action.dest.upper()) if takes_value else ""
    return Option(
        tuple(action.option_strings), name, text, choices, takes_many=action.nargs in {"+", "*"}
    )
