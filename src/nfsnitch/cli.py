"""The command line: what is asked, checked and handed to the command that does it."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

from nfsnitch import __version__
from nfsnitch.adapters.rulefile import RuleFileError, load, system_names
from nfsnitch.adapters.rulefile.problems import Refused, quoted
from nfsnitch.adapters.rulefile.values import Known, has_ports, parse_dport, parse_proto, parse_uid
from nfsnitch.commands.check import check
from nfsnitch.commands.explain import NOT_GIVEN, Question, explain, explain_json, process
from nfsnitch.core.attach import AttachMode
from nfsnitch.core.flow import NO_PORTS, packed_address
from nfsnitch.core.owner import Kernel, Owner
from nfsnitch.core.text import shown
from nfsnitch.lean import import_asyncio
from nfsnitch.options import DEFAULT_QUEUE_NUM, DEFAULT_RULES, RunOptions

T = TypeVar("T")

MAX_QUEUE_NUM = 65_535
USAGE_ERROR = 2
"""Exit status for a command line that cannot be understood (argparse's own)."""


class UsageError(Exception):
    """Options that do not fit together."""


class _Parser(argparse.ArgumentParser):
    """Shows what it quotes from the command line as text from outside."""

    def error(self, message: str) -> NoReturn:
        super().error(message if message.isprintable() else shown(message))


def main(argv: Sequence[str] | None = None) -> int:
    """Do what *argv* (by default this process's arguments) says; return the exit status."""
    parser = _parser()
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


def _parser() -> argparse.ArgumentParser:
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
        type=AttachMode,
        choices=list(AttachMode),
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
    parser.add_argument(
        "--queue",
        type=_queue_num,
        default=DEFAULT_QUEUE_NUM,
        metavar="N",
        help="NFQUEUE number (default: %(default)s)",
    )
    parser.add_argument(
        "--records", metavar="FILE", help="append a JSON line per decision; - for standard output"
    )
    parser.set_defaults(command=_run)


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.description = "Say what is wrong with rule files, taken together as run would."
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="file or directory")
    parser.set_defaults(command=_check)


def _add_explain(parser: argparse.ArgumentParser) -> None:
    parser.description = "Say which rule decides a flow. What is not given is not known."
    _add_rules(parser)
    parser.add_argument("--exe", metavar="PATH", help="the program, symlinks resolved")
    parser.add_argument("--args", metavar="TEXT", help="its arguments, its own name first")
    user = parser.add_mutually_exclusive_group()
    user.add_argument("--uid", type=_parsed(parse_uid), metavar="N", help="the user by number")
    user.add_argument("--user", metavar="NAME", help="the user by name")
    parser.add_argument(
        "--parent",
        action="append",
        default=[],
        metavar="PATH",
        help="an ancestor's program; again for the one above it",
    )
    parser.add_argument("--proto", type=_parsed(parse_proto), metavar="NAME", help="tcp, udp, 47 …")
    parser.add_argument("--daddr", type=_address, metavar="ADDRESS", help="destination address")
    parser.add_argument("--dport", type=_port, metavar="PORT", help="number or service name")
    parser.add_argument("--owner", choices=("unknown", "kernel"), help="instead of a process")
    parser.add_argument("--json", action="store_true", help="the same as JSON")
    parser.set_defaults(command=_explain)


def _add_rules(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rules",
        action="extend",
        nargs="+",
        type=Path,
        metavar="PATH",
        help=f"rule file or directory of them; may be repeated (default: {DEFAULT_RULES})",
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
    )
    return daemon.run(run_options)


def _check(options: argparse.Namespace) -> int:
    return check(options.paths, system_names(), sys.stdout, sys.stderr)


def _explain(options: argparse.Namespace) -> int:
    question = _question(options)
    try:
        ruleset = load(_rules(options), system_names())
    except RuleFileError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    (explain_json if options.json else explain)(ruleset, question, sys.stdout)
    return 0


def _question(options: argparse.Namespace) -> Question:
    dport = NOT_GIVEN if options.dport is None else options.dport
    if options.proto is not None and not has_ports(options.proto):
        if options.dport is not None:
            raise UsageError("--dport: the protocol of --proto has no ports")
        dport = NO_PORTS
    return Question(
        owner=_owner(options),
        proto=NOT_GIVEN if options.proto is None else options.proto,
        daddr=NOT_GIVEN if options.daddr is None else options.daddr,
        dport=dport,
    )


def _owner(options: argparse.Namespace) -> Owner:
    uid = options.uid
    if options.user is not None:
        uid = system_names().uid_of(options.user)
        if uid is None:
            raise UsageError(f"--user: this machine has no user {quoted(options.user)}")
    of_process = (options.exe, options.args, uid, *options.parent)
    given = any(each is not None for each in of_process)
    if options.owner is None and given:
        return process(options.exe, options.args, uid, tuple(options.parent))
    if given:
        raise UsageError("--owner: it stands instead of --exe, --args, --uid, --user and --parent")
    return Kernel("said on the command line") if options.owner == "kernel" else NOT_GIVEN


def _parsed(parse: Callable[[str, Known], tuple[T]]) -> Callable[[str], T]:
    """Return a reader of option values that takes what a rule file takes."""

    def read(text: str) -> T:
        try:
            (value,) = parse(text, Known(system_names(), {}))
        except Refused as refused:
            raise _bad_value(text, refused) from None
        return value

    return read


def _port(text: str) -> int:
    try:
        ranges = list(parse_dport(text, Known(system_names(), {})))
    except Refused as refused:
        raise _bad_value(text, refused) from None
    if len(ranges) != 1 or ranges[0].first != ranges[0].last:
        raise argparse.ArgumentTypeError(f"{quoted(text)}: several ports; write one number")
    return ranges[0].first


def _address(text: str) -> bytes:
    try:
        packed = packed_address(text)
    except ValueError:
        packed = b""
    if not packed or "%" in text:  # a zone is no part of a packet's address
        reason = "it is no IPv4 or IPv6 address; write one as in 192.0.2.1 or 2001:db8::1"
        raise argparse.ArgumentTypeError(f"{quoted(text)}: {reason}")
    return packed


def _queue_num(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text[:6]) > MAX_QUEUE_NUM:
        reason = f"queues go from 0 to {MAX_QUEUE_NUM}"
        raise argparse.ArgumentTypeError(f"{quoted(text)}: {reason}")
    return int(text)


def _bad_value(text: str, refused: Refused) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"{quoted(text)}: {refused.why}; {refused.instead}")


_COMMANDS = {
    "run": (_add_run, "enforce rules in this network namespace"),
    "check": (_add_check, "say what is wrong with rule files"),
    "explain": (_add_explain, "say which rule decides a flow, and why"),
}


if __name__ == "__main__":
    sys.exit(main())
