"""The command line: what is asked, checked and handed to the command that does it."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from nfsnitch import __version__
from nfsnitch.adapters.rulefile import RuleFileError, load, system_names
from nfsnitch.adapters.rulefile.problems import quoted
from nfsnitch.commands import explain_options, reload, status, stop, watch
from nfsnitch.commands.check import CheckOptions, check
from nfsnitch.commands.completions import SHELLS, completions
from nfsnitch.commands.explain import explain, explain_json
from nfsnitch.commands.grammar import grammar
from nfsnitch.commands.schema import schema
from nfsnitch.core.attach import AttachMode
from nfsnitch.core.text import shown
from nfsnitch.lean import import_asyncio
from nfsnitch.options import DEFAULT_QUEUE_NUM, DEFAULT_RULES, RunOptions, UsageError

MAX_QUEUE_NUM = 65_535
USAGE_ERROR = 2
"""Exit status for a command line that cannot be understood (argparse's own)."""


class _Parser(argparse.ArgumentParser):
    """Shows what it quotes from the command line as text from outside."""

    def error(self, message: str) -> NoReturn:
        super().error(message if message.isprintable() else shown(message))


def main(argv: Sequence[str] | None = None) -> int:
    """Do what *argv* (by default this process's arguments) says; return the exit status."""
    parser = command_parser()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr has it, whatever the locale
    try:
        options = parser.parse_args(argv)
        status: int = options.command(options)
    except UsageError as error:
        sys.stderr.write(f"nfsnitch: {error}\n")
        return USAGE_ERROR
    except SystemExit as exit_:  # argparse has said what it had to say
        return exit_.code if isinstance(exit_.code, int) else USAGE_ERROR
    return status


def command_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; completions and man pages are made from it."""
    parser = _Parser(
        prog="nfsnitch",
        description="Decides for each program whom it may connect to.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"nfsnitch {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (add_options, purpose) in _COMMANDS.items():
        # Abbreviated options would change their meaning when options are added.
        add_options(commands.add_parser(name, help=purpose, allow_abbrev=False))
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.description = "Enforce rules in this network namespace until SIGTERM or SIGINT."
    _add_rules(parser)
    parser.add_argument(
        "--attach",
        type=_attach_mode,
        default=AttachMode.AUTO,
        metavar="MODE",
        help="where to put the eBPF programs: auto (the best that works), lsm, kprobe, cgroup",
    )
    parser.add_argument(
        "--cgroup",
        type=Path,
        metavar="PATH",
        help="put the hooks of a cgroup on this directory; mode cgroup watches processes below it",
    )
    _add_queue(parser)
    parser.add_argument(
        "--records", metavar="FILE", help="append a JSON line per decision; - for standard output"
    )
    parser.add_argument(
        "--socket", type=Path, metavar="PATH", help="control socket (default: by the namespace)"
    )
    parser.add_argument(
        "--group",
        metavar="NAME",
        help="members may watch without being root (default: nfsnitch, if there is that group)",
    )
    parser.set_defaults(command=_run)


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Say what is wrong with rule files, taken together as run would, and warn of what is "
        "likely not meant."
    )
    parser.add_argument("--strict", action="store_true", help="exit with 1 on warnings, too")
    parser.add_argument("--json", action="store_true", help="the same as JSON")
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="file or directory")
    parser.set_defaults(command=_check)


def _add_explain(parser: argparse.ArgumentParser) -> None:
    parser.description = "Say which rule decides a flow. What is not given is not known."
    _add_rules(parser)
    explain_options.add_options(parser)
    parser.set_defaults(command=_explain)


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.description = "Say what this machine can do, what will be used, and how to get more."
    _add_rules(parser)
    parser.add_argument("--json", action="store_true", help="the same as JSON")
    parser.set_defaults(command=_doctor)


def _add_schema(parser: argparse.ArgumentParser) -> None:
    parser.description = "Print the JSON Schema of rule files, for editors."
    parser.set_defaults(command=lambda _: schema(sys.stdout))


def _add_completions(parser: argparse.ArgumentParser) -> None:
    parser.description = "Print a script by which a shell completes our command lines."
    parser.add_argument("shell", choices=tuple(SHELLS), help="the shell that is to read it")
    parser.set_defaults(command=_completions)


def _add_ruleset(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Put the ruleset in force without a daemon (at boot, before the network is up), remove it, "
        "or show it. With 'fail: closed' nothing new leaves until the daemon takes over. Exit "
        "status 3 of load: in force with default settings, for the rule files are bad."
    )
    parser.add_argument("wish", choices=("load", "remove", "show"), help="what to do")
    _add_rules(parser)
    _add_queue(parser)
    parser.set_defaults(command=_ruleset)


def _add_rules(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rules",
        action="extend",
        nargs="+",
        type=Path,
        metavar="PATH",
        help=f"rule file or directory of them; may be repeated (default: {DEFAULT_RULES})",
    )


def _add_queue(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--queue",
        type=_queue_num,
        default=DEFAULT_QUEUE_NUM,
        metavar="N",
        help="NFQUEUE number (default: %(default)s)",
    )


def _rules(options: argparse.Namespace) -> tuple[Path, ...]:
    return tuple(options.rules or (DEFAULT_RULES,))


def _run(options: argparse.Namespace) -> int:
    import_asyncio()
    from nfsnitch import daemon  # noqa: PLC0415  it loads what check and explain can do without

    run_options = RunOptions(
        rules=_rules(options),
        cgroup=options.cgroup,
        attach=options.attach,
        queue_num=options.queue,
        records=options.records,
        socket=options.socket,
        group=options.group,
    )
    return daemon.run(run_options)


def _check(options: argparse.Namespace) -> int:
    how = CheckOptions(strict=options.strict, json=options.json)
    return check(options.paths, system_names(), how, sys.stdout, sys.stderr)


def _completions(options: argparse.Namespace) -> int:
    return completions(options.shell, grammar(command_parser()), sys.stdout)


def _explain(options: argparse.Namespace) -> int:
    question = explain_options.question(options)
    try:
        ruleset = load(_rules(options), system_names())
    except RuleFileError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    (explain_json if options.json else explain)(ruleset, question, sys.stdout)
    return 0


def _ruleset(options: argparse.Namespace) -> int:
    from nfsnitch.commands import ruleset  # noqa: PLC0415  it loads nftables

    wish = ruleset.Wish(options.wish)
    return ruleset.ruleset(wish, _rules(options), options.queue, system_names())


def _doctor(options: argparse.Namespace) -> int:
    from nfsnitch.commands.doctor import doctor  # noqa: PLC0415  nobody else needs it

    return doctor(_rules(options), sys.stdout, as_json=options.json)


def _queue_num(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text[:6]) > MAX_QUEUE_NUM:
        reason = f"queues go from 0 to {MAX_QUEUE_NUM}"
        raise argparse.ArgumentTypeError(f"{quoted(text)}: {reason}")
    return int(text)


def _attach_mode(text: str) -> AttachMode:
    if text not in list(AttachMode):
        reason = f"no such attach mode; choose one of {', '.join(AttachMode)}"
        raise argparse.ArgumentTypeError(f"{quoted(text)}: {reason}")
    return AttachMode(text)


_COMMANDS = {
    "run": (_add_run, "enforce rules in this network namespace"),
    "check": (_add_check, "say what is wrong with rule files"),
    "ruleset": (_add_ruleset, "put the queueing rules in force without a daemon"),
    "explain": (_add_explain, "say which rule decides a flow, and why"),
    "status": (status.add_options, "say how the daemon is: rules, queue, every counter"),
    "watch": (watch.add_options, "show every decision as it is made"),
    "reload": (reload.add_options, "have the daemon read its rules again"),
    "stop": (stop.add_options, "have the daemon stop, and take its ruleset away"),
    "doctor": (_add_doctor, "say what this machine can do, and how to get more"),
    "schema": (_add_schema, "print the JSON Schema of rule files"),
    "completions": (_add_completions, "print the completion script for a shell"),
}


if __name__ == "__main__":
    sys.exit(main())
