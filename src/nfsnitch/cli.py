"""The command line: what is asked is handed to the command that does it."""

from __future__ import annotations

import argparse
import importlib
import io
import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple, NoReturn

from nfsnitch import __version__
from nfsnitch.core.text import shown
from nfsnitch.options import UsageError
from nfsnitch.output import discard_output

USAGE_ERROR = 2
"""Exit status for a command line that cannot be understood (argparse's own)."""

_CLOSED_PIPE = 141
"""Exit status where nobody reads any more: a shell's for a program that SIGPIPE has ended."""


class _Command(NamedTuple):
    module: str
    """In `nfsnitch.commands`; its `add_options` describes the command line."""
    purpose: str


_COMMANDS = {
    "run": _Command("run", "enforce rules in this network namespace"),
    "check": _Command("check", "say what is wrong with rule files"),
    "ruleset": _Command("ruleset", "put the queueing rules in force without a daemon"),
    "explain": _Command("explain_options", "say which rule decides a flow, and why"),
    "status": _Command("status", "say how the daemon is: rules, queue, every counter"),
    "watch": _Command("watch", "show every decision as it is made"),
    "prompt": _Command("prompt", "show what is asked, and answer it"),
    "mode": _Command("mode", "ask, or allow or deny silently, for a while"),
    "rules": _Command("answers_rules", "list, revoke, edit and make the rules that answers are"),
    "names": _Command("names", "list which names of addresses are known, and to whom"),
    "lists": _Command("lists", "show, renew, check and search lists of domains and networks"),
    "owners": _Command("owners", "list open sockets and who owns them"),
    "reload": _Command("reload", "have the daemon read its rules again"),
    "stop": _Command("stop", "have the daemon stop, and take its ruleset away"),
    "unload": _Command("unload", "take out of the kernel what outlives the daemon"),
    "doctor": _Command("doctor", "say what this machine can do, and how to get more"),
    "lab": _Command("lab", "try rules and firewall out, away from the machine's own network"),
    "import": _Command("importing", "write rules of other firewalls as a rule file"),
    "export": _Command("exporting", "write rules for other firewalls, or as JSON"),
    "schema": _Command("schema", "print the JSON Schema of rule files"),
    "completions": _Command("completions", "print the completion script for a shell"),
}


class _Parser(argparse.ArgumentParser):
    """Shows what it quotes from the command line as text from outside."""

    def error(self, message: str) -> NoReturn:
        super().error(message if message.isprintable() else shown(message))


def main(argv: Sequence[str] | None = None) -> int:
    """Do what *argv* (by default this process's arguments) says; return the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    parser = _parser(name for name in argv[:1] if name in _COMMANDS)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr has it, whatever the locale
    try:
        options = parser.parse_args(argv)
        status: int = options.command(options)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read has seen enough, as `head` has
        discard_output()
        return _CLOSED_PIPE
    except UsageError as error:
        sys.stderr.write(f"nfsnitch: {error}\n")
        return USAGE_ERROR
    except SystemExit as exit_:  # argparse has said what it had to say
        return exit_.code if isinstance(exit_.code, int) else USAGE_ERROR
    return status


def command_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; completions and man pages are made from it."""
    return _parser(_COMMANDS)


def _parser(described: Iterable[str]) -> argparse.ArgumentParser:
    """Return a parser that knows all commands, and the options of those that are *described*.

    The daemon need not have in memory what other commands are made of.
    """
    parser = _Parser(
        prog="nfsnitch",
        description="Decides for each program whom it may connect to.",
        allow_abbrev=False,
    )
    parser.set_defaults(whole_parser=command_parser)
    parser.add_argument("--version", action="version", version=f"nfsnitch {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    wanted = set(described)
    for name, (module, purpose) in _COMMANDS.items():
        # Abbreviated options would change their meaning when options are added.
        of_command = commands.add_parser(name, help=purpose, allow_abbrev=False)
        if name in wanted:
            importlib.import_module(f"nfsnitch.commands.{module}").add_options(of_command)
    return parser


if __name__ == "__main__":
    sys.exit(main())
