"""The command line of ``nfsnitch explain``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from nfsnitch.adapters.clock import Clock, zone_at
from nfsnitch.adapters.rulefile import RuleFileError, load, load_answers_file, system_names
from nfsnitch.adapters.rulefile.identity_values import (
    parse_changed,
    parse_package,
    parse_sha256,
)
from nfsnitch.adapters.rulefile.place_values import parse_netns, parse_pid
from nfsnitch.adapters.rulefile.problems import Refused, quoted
from nfsnitch.adapters.rulefile.time_values import parse_moment
from nfsnitch.adapters.rulefile.values import (
    Known,
    has_ports,
    parse_dport,
    parse_gid,
    parse_group,
    parse_proto,
    parse_uid,
    parse_user,
)
from nfsnitch.commands.common_options import add_rules, rules_of
from nfsnitch.commands.explain import NOT_GIVEN, Question, explain, explain_json, process
from nfsnitch.core.flow import NO_PORTS, packed_address
from nfsnitch.core.instant import Instant
from nfsnitch.core.name_conditions import ListCondition
from nfsnitch.core.owner import Forwarded, Kernel, Owner
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.naming.hosts import host_name
from nfsnitch.options import DEFAULT_STATE, UsageError

T = TypeVar("T")

_OF_PROCESS = {
    "exe": "--exe",
    "exe_inside": "--exe-inside",
    "args": "--args",
    "uid": "--uid",
    "user": "--user",
    "gid": "--gid",
    "group": "--group",
    "comm": "--comm",
    "pid": "--pid",
    "cgroup": "--cgroup",
    "netns": "--netns",
    "cwd": "--cwd",
    "package": "--package",
    "changed": "--changed",
    "sha256": "--sha256",
}
"""Names of options that speak of a process → how they are written."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what the command line understands."""
    parser.description = "Say which rule decides a flow. What is not given is not known."
    add_rules(parser)
    parser.add_argument(
        "--answers",
        type=Path,
        metavar="FILE",
        help="rules that answers have made, too: they decide where the others say ask",
    )
    parser.add_argument(
        "--state",
        type=Path,
        default=DEFAULT_STATE,
        metavar="PATH",
        help="where the daemon keeps what is on lists (default: %(default)s)",
    )
    add_question(parser)
    parser.set_defaults(command=_explain)


def add_question(parser: argparse.ArgumentParser) -> None:
    """Add all options but ``--rules``."""
    _add_process(parser)
    _add_flow(parser)
    parser.add_argument(
        "--at", type=_parsed_alone(parse_moment), metavar="TIME", help="when (default: now)"
    )
    kinds = ("unknown", "kernel", "forwarded")
    parser.add_argument("--owner", choices=kinds, help="instead of a process")
    parser.add_argument("--json", action="store_true", help="the same as JSON")


def _fill(ruleset: Ruleset, state: Path) -> None:
    from nfsnitch.commands.list_contents import fill  # noqa: PLC0415  most rules have no lists

    named = {
        each
        for rule in ruleset.rules
        for condition in rule.conditions
        if isinstance(condition, ListCondition)
        for each in condition.lists
    }
    for problem in fill((each for each in ruleset.lists if each in named), state):
        sys.stderr.write(f"{problem}\n")


def _explain(options: argparse.Namespace) -> int:
    asked = question(options)
    try:
        ruleset = load(rules_of(options), system_names())
        if options.answers is not None:
            answers = load_answers_file(options.answers, system_names())
            ruleset = ruleset.with_answers(answers)
    except RuleFileError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if ruleset.lists:
        _fill(ruleset, options.state)
    (explain_json if options.json else explain)(ruleset, asked, sys.stdout)
    return 0


def _add_process(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--exe", metavar="PATH", help="the program, symlinks resolved")
    parser.add_argument("--exe-inside", metavar="PATH", help="the same as its container sees it")
    parser.add_argument("--args", metavar="TEXT", help="its arguments, its own name first")
    parser.add_argument("--cwd", metavar="PATH", help="its working directory, for script:")
    user = parser.add_mutually_exclusive_group()
    user.add_argument("--uid", type=_parsed(parse_uid), metavar="N", help="the user by number")
    user.add_argument("--user", type=_parsed(parse_user), metavar="NAME", help="the user by name")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--gid", type=_parsed(parse_gid), metavar="N", help="the group by number")
    group.add_argument(
        "--group", type=_parsed(parse_group), metavar="NAME", help="the group by name"
    )
    parser.add_argument("--comm", metavar="NAME", help="the name of its thread")
    parser.add_argument("--pid", type=_parsed(parse_pid), metavar="N", help="its number")
    parser.add_argument("--cgroup", metavar="PATH", help="its cgroup; tells unit, app, pod")
    parser.add_argument(
        "--netns", type=_parsed(parse_netns), metavar="NAME", help="its network namespace"
    )
    parser.add_argument(
        "--package", type=_parsed(parse_package), metavar="NAME", help="its package, or none"
    )
    parser.add_argument(
        "--changed",
        type=_parsed(parse_changed),
        metavar="true|false",
        help="whether it is another file than the one last let out",
    )
    parser.add_argument(
        "--sha256", type=_parsed(parse_sha256), metavar="HEX", help="its hash (sha256sum)"
    )
    parser.add_argument(
        "--parent",
        action="append",
        default=[],
        metavar="PATH",
        help="an ancestor's program; again for the one above it",
    )


def _add_flow(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--proto", type=_parsed(parse_proto), metavar="NAME", help="tcp, udp, 47 …")
    parser.add_argument("--daddr", type=_address, metavar="ADDRESS", help="destination address")
    parser.add_argument("--dport", type=_port, metavar="PORT", help="number or service name")
    parser.add_argument(
        "--host",
        action="append",
        type=_host,
        default=[],
        metavar="NAME",
        help="the name by which the address was looked for; again if there are several",
    )
    parser.add_argument("--saddr", type=_address, metavar="ADDRESS", help="source address")
    parser.add_argument("--sport", type=_port, metavar="PORT", help="source port")
    parser.add_argument("--iface", metavar="NAME", help="the interface it leaves by")
    parser.add_argument("--iface-in", metavar="NAME", help="the interface it came by, if forwarded")


def question(options: argparse.Namespace) -> Question:
    """Return what the command line asks.

    Raises:
        UsageError: options do not fit together.

    """
    ports = {"dport": options.dport, "sport": options.sport}
    if options.proto is not None and not has_ports(options.proto):
        for name, port in ports.items():
            if port is not None:
                raise UsageError(f"--{name}: the protocol of --proto has no ports")
        ports = dict.fromkeys(ports, NO_PORTS)
    addresses = [each for each in (options.daddr, options.saddr) if each is not None]
    if len({len(each) for each in addresses}) > 1:
        raise UsageError("--saddr: --daddr is of the other address family")
    names = ("proto", "daddr", "saddr", "iface", "iface_in")
    given = {name: getattr(options, name) for name in names}
    given |= ports
    return Question(
        owner=_owner(options),
        now=_instant(options.at),
        at_given=options.at is not None,
        hosts=tuple(dict.fromkeys(options.host)),
        **{name: value for name, value in given.items() if value is not None},
    )


def _instant(wall_ns: int | None) -> Instant:
    return Clock().now() if wall_ns is None else Instant(0, wall_ns, zone_at(wall_ns))


def _owner(options: argparse.Namespace) -> Owner:
    given = {
        name: value for name in _OF_PROCESS if (value := getattr(options, name, None)) is not None
    }
    if options.owner is None and (given or options.parent):
        uid = given.pop("user", given.pop("uid", None))
        gid = given.pop("group", given.pop("gid", None))
        return process(**given, uid=uid, gid=gid, parents=tuple(options.parent))
    if given or options.parent:
        written = [_OF_PROCESS[name] for name in given] or ["--parent"]
        raise UsageError(f"--owner: it stands instead of {written[0]} and all else of a process")
    if options.owner == "forwarded":
        return Forwarded("said on the command line")
    return Kernel("said on the command line") if options.owner == "kernel" else NOT_GIVEN


def _parsed(parse: Callable[[str, Known], Sequence[T]]) -> Callable[[str], T]:
    """Return a reader of option values that takes what a rule file takes."""

    def read(text: str) -> T:
        try:
            (value,) = parse(text, Known(system_names(), {}))
        except Refused as refused:
            raise _bad_value(text, refused) from None
        return value

    return read


def _parsed_alone(parse: Callable[[str], T]) -> Callable[[str], T]:
    def read(text: str) -> T:
        try:
            return parse(text)
        except Refused as refused:
            raise _bad_value(text, refused) from None

    return read


def _port(text: str) -> int:
    try:
        ranges = list(parse_dport(text, Known(system_names(), {})))
    except Refused as refused:
        raise _bad_value(text, refused) from None
    if len(ranges) != 1 or ranges[0].first != ranges[0].last:
        raise argparse.ArgumentTypeError(f"{quoted(text)}: several ports; write one number")
    return ranges[0].first


def _host(text: str) -> str:
    name = host_name(text)
    if not isinstance(name, str):
        reason = "it is an address; write --daddr" if name is None else name.problem
        raise argparse.ArgumentTypeError(f"{quoted(text)}: {reason}")
    return name


def _address(text: str) -> bytes:
    try:
        packed = packed_address(text)
    except ValueError:
        packed = b""
    if not packed or "%" in text:  # a zone is no part of a packet's address
        reason = "it is no IPv4 or IPv6 address; write one as in 192.0.2.1 or 2001:db8::1"
        raise argparse.ArgumentTypeError(f"{quoted(text)}: {reason}")
    return packed


def _bad_value(text: str, refused: Refused) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"{quoted(text)}: {refused.why}; {refused.instead}")
