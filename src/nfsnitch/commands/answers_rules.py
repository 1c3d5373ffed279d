"""``nfsnitch rules``: the rules that answers have made, and what would have been asked."""

from __future__ import annotations

import argparse
from typing import TypeAlias

from nfsnitch.commands.answers_rules_edit import add_rule, edit_rule
from nfsnitch.commands.answers_rules_list import list_rules, move_rule, revoke_rules
from nfsnitch.commands.answers_silenced import from_silenced, list_silenced
from nfsnitch.commands.asking import add_daemon_options
from nfsnitch.prompt.durations import duration
from nfsnitch.protocol import RuleKind, Say, Where, Who

_LASTS = "forever, restart (until the daemon ends), 15m, 8h or 'until 2030-06-30T18:00'"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what the command line understands."""
    parser.description = (
        "List the rules in force, and change those that answers have made: root and members of "
        "the daemon's group may. Rules of files are changed in their files."
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (_add_list, _add_revoke, _add_edit, _add_add, _add_move, _add_silenced):
        add(commands)
    _add_from_silenced(commands)


_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001  it has no other name


def _add(commands: _Commands, name: str, purpose: str, description: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=purpose, description=description, allow_abbrev=False)
    add_daemon_options(parser)
    return parser


def _add_list(commands: _Commands) -> None:
    parser = _add(commands, "list", "list rules", "List the rules in force, in their order.")
    parser.add_argument(
        "--kind",
        action="append",
        choices=[kind.value for kind in RuleKind],
        help="of rule files, lasting answers, or temporary ones (default: all); may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.set_defaults(command=list_rules)


def _add_revoke(commands: _Commands) -> None:
    text = "Take back rules that answers have made."
    parser = _add(commands, "revoke", "take back what was answered", text)
    parser.add_argument("name", nargs="+", metavar="NAME", help="of a rule, as rules list has it")
    parser.set_defaults(command=revoke_rules)


def _add_edit(commands: _Commands) -> None:
    text = (
        "Edit a rule that an answer has made, in $VISUAL or $EDITOR. What is wrong with it is "
        "said, and it can be edited again; what is not taken is kept in a file."
    )
    parser = _add(commands, "edit", "edit a rule in your editor", text)
    parser.add_argument("name", metavar="NAME", help="of a rule, as rules list has it")
    parser.set_defaults(command=edit_rule)


def _add_add(commands: _Commands) -> None:
    text = "Take a rule as if an answer had made it. Exit status 1 if something is wrong with it."
    parser = _add(commands, "add", "add a rule", text)
    parser.add_argument(
        "file", metavar="FILE", help="one rule in YAML, without the list's dash; -: standard input"
    )
    parser.add_argument(
        "--duration", type=_duration, required=True, metavar="TIME", help=f"how long: {_LASTS}"
    )
    parser.set_defaults(command=add_rule)


def _add_move(commands: _Commands) -> None:
    text = "Move a lasting rule: the first one that matches decides."
    parser = _add(commands, "move", "move a lasting rule", text)
    parser.add_argument("name", metavar="NAME", help="of a lasting rule")
    parser.add_argument(
        "place", type=_place, metavar="PLACE", help="its place among the lasting ones, from 1"
    )
    parser.set_defaults(command=move_rule)


def _add_silenced(commands: _Commands) -> None:
    text = "List what would have been asked, had the mode been ask."
    parser = _add(commands, "silenced", "list what would have been asked", text)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.set_defaults(command=list_silenced)


def _add_from_silenced(commands: _Commands) -> None:
    text = "Make rules of what would have been asked."
    parser = _add(commands, "from-silenced", "make rules of what would have been asked", text)
    parser.add_argument(
        "number", nargs="+", type=_number, metavar="NUMBER", help="as rules silenced has it"
    )
    parser.add_argument(
        "--action",
        required=True,
        choices=[say.value for say in Say],
        help="dismiss makes no rule: it forgets them",
    )
    parser.add_argument(
        "--who",
        default=Who.PROGRAM.value,
        choices=[who.value for who in Who],
        metavar="WHO",
        help=f"for whom: {', '.join(Who)} (default: %(default)s)",
    )
    parser.add_argument(
        "--where",
        default=Where.ADDRESS_PORT.value,
        choices=[where.value for where in Where],
        metavar="WHERE",
        help=f"for where: {', '.join(Where)} (default: %(default)s)",
    )
    parser.add_argument(
        "--duration",
        type=_duration,
        default="forever",
        metavar="TIME",
        help=f"how long: {_LASTS} (default: %(default)s)",
    )
    parser.set_defaults(command=from_silenced)


def _duration(text: str) -> str:
    try:
        return duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _place(text: str) -> int:
    return _number(text)


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text[:15]) < 1 << 40:
        raise argparse.ArgumentTypeError("write a number, from 1")
    return int(text[:15])
