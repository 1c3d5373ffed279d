"""``nfsnitch explain``: say which rule would decide a flow, and why those before it would not."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, TextIO, cast

from nfsnitch.core import conditions as core
from nfsnitch.core.case import Case
from nfsnitch.core.conditions import Reader
from nfsnitch.core.decision import Reason
from nfsnitch.core.flow import BYPASS_NAMES, PROTOCOL_NAMES, Family, Flow, address_text
from nfsnitch.core.identity import Identity
from nfsnitch.core.instant import Instant
from nfsnitch.core.name import Name, Names, NameSource
from nfsnitch.core.name_record import entry_json, names_json
from nfsnitch.core.opening import about_openings
from nfsnitch.core.owner import Ancestor, Executable, Owner, Process
from nfsnitch.core.rule import Rule
from nfsnitch.core.ruleset import Ruleset, Ruling
from nfsnitch.core.text import shown
from nfsnitch.core.unknown import Unknown

NOT_GIVEN = Unknown("not given on the command line")

_FIRST_PID = 1
_GIVEN = ("pid", "uid", "gid", "comm", "cgroup", "netns", "cwd")
"""What a process may have for which it is enough to be given."""
_REASONS = {
    Reason.DEFAULT: "no rule matches: default",
    Reason.UNIDENTIFIED: "it depends on the hash of the program, which is not known: refused",
    Reason.UNNAMED: "its on_unknown_name, for the host's name cannot be told",
    Reason.UNATTRIBUTED: "no rule matches and the owner is not known: unattributed",
}


@dataclass(frozen=True, slots=True)
class Question:
    """A flow and its owner as far as the command line tells."""

    owner: Owner
    now: Instant
    at_given: bool = False
    """Whether it is the moment that the command line names, and not the present one."""
    proto: int | Unknown = NOT_GIVEN
    daddr: bytes | Unknown = NOT_GIVEN
    dport: int | Unknown = NOT_GIVEN
    saddr: bytes | Unknown = NOT_GIVEN
    sport: int | Unknown = NOT_GIVEN
    iface: str | Unknown = NOT_GIVEN
    iface_in: str | Unknown = NOT_GIVEN
    hosts: tuple[str, ...] = ()
    """Names by which the address was looked for; more than one: which is meant, is ambiguous."""

    @property
    def family(self) -> Family | Unknown:
        """The family of the addresses."""
        address = self.saddr if isinstance(self.daddr, Unknown) else self.daddr
        if isinstance(address, Unknown):
            return address
        return Family.IPV4 if len(address) == 4 else Family.IPV6  # noqa: PLR2004

    @property
    def case(self) -> Case:
        """What to ask the rules about."""
        # A packet always tells its protocol and its addresses, so Flow has no place for an Unknown
        # there; conditions look for one all the same, and here alone they meet it.
        family, proto = cast("Any", (self.family, self.proto))
        saddr, daddr = cast("Any", (self.saddr, self.daddr))
        flow = Flow(family, proto, saddr, daddr, self.sport, self.dport)
        names = Names(tuple(map(self._name, self.hosts)), NOT_GIVEN.reason)
        return Case(flow, self.owner, self.iface, self.now, self.iface_in, names)

    def _name(self, host: str) -> Name:
        return Name(host, NameSource.DNS, own=True, known_ns=self.now.monotonic_ns)


def process(*, parents: tuple[str, ...] = (), args: str | None = None, **given: Any) -> Process:  # noqa: ANN401  options' values
    """Return a process of which only this is known; *parents* is the whole chain, nearest first."""
    above = len(parents)
    chain = tuple(
        Ancestor(_FIRST_PID + above - 1 - at, 0, _executable(path))
        for at, path in enumerate(parents)
    )
    # As with flows: what the kernel always tells may be unknown here.
    known: dict[str, Any] = {
        name: NOT_GIVEN if given.get(name) is None else given[name] for name in _GIVEN
    }
    return Process(
        **known,
        tid=known["pid"],
        start_time_ns=0,
        exe=_executable(given.get("exe"), given.get("exe_inside")),
        args=NOT_GIVEN if args is None else tuple(args.split(" ")),
        parents=chain or (Ancestor(_FIRST_PID, 0, _executable(None)),),
        cgroup_id=NOT_GIVEN,
        identity=_identity(given),
    )


def _identity(given: dict[str, Any]) -> Identity:
    return Identity(
        **{name: given.get(name, NOT_GIVEN) for name in ("sha256", "changed", "package")}
    )


def explain(ruleset: Ruleset, question: Question, out: TextIO) -> None:
    """Write for people how *ruleset* decides."""
    case = question.case
    ruleset = _asked_here(ruleset, case)
    asked = _asked(ruleset, question)
    _write_table(out, [(field, _text(value)) for field, value in asked.items()])
    out.write("\n")
    mismatches = list(ruleset.mismatches(case))
    rows = [
        (shown(rule.name), _match(rule, field, case), rule.origin) for rule, field in mismatches
    ]
    _write_table(out, rows)
    out.write("\n" if rows else "")
    out.write(f"{_outcome(ruleset.rule_on(case), mismatches[-1:])}\n")


def explain_json(ruleset: Ruleset, question: Question, out: TextIO) -> None:
    """Write the same as one JSON document."""
    case = question.case
    ruleset = _asked_here(ruleset, case)
    ruling = ruleset.rule_on(case)
    document = {
        "asked": {field: _json(value) for field, value in _asked(ruleset, question).items()},
        "rules": [
            {"rule": rule.name, "origin": rule.origin, "matches": field is None, "mismatch": field}
            for rule, field in ruleset.mismatches(case)
        ],
        "action": ruling.action.value,
        "reason": ruling.reason.value,
        "rule": ruling.rule,
        **entry_json(ruling.entry),
    }
    out.write(f"{json.dumps(document, indent=2)}\n")


def _match(rule: Rule, field: str | None, case: Case) -> str:
    if field is None:
        return "matches"
    return f"cannot be told: {field}" if rule.lacks_name(case) else f"no match: {field}"


def _asked_here(ruleset: Ruleset, case: Case) -> Ruleset:
    """Return the rules that are asked; when a socket is opened, these are not all."""
    return about_openings(ruleset) if case.flow.proto in BYPASS_NAMES else ruleset


def _asked(ruleset: Ruleset, question: Question) -> dict[str, Any]:
    """Return what is known of the flow and its owner, by the fields of rules.

    The rarer fields are told if they were given, or if a rule asks for them.
    """
    case = question.case
    fields = {each.field for rule in ruleset.rules for each in rule.conditions}
    asked: dict[str, Any] = {}
    if not isinstance(case.owner, Process):
        asked["owner"] = case.owner if isinstance(case.owner, Unknown) else _kind(case.owner)
    for name, (read, shows) in _VALUES.items():
        if name in _OF_PROCESS and not isinstance(case.owner, Process):
            continue
        value = read(case)
        rules_ask = name in fields or _OTHER_NAME.get(name) in fields
        if name in _ALWAYS_SHOWN or rules_ask or not isinstance(value, Unknown):
            asked[name] = value if isinstance(value, Unknown) else shows(value)
    if question.at_given or not fields.isdisjoint({"schedule", "expires"}):
        asked["at"] = _local_time(question.now)
    return asked


def _kind(owner: Owner) -> str:
    return core.owner_kind(owner).value


def _read_parents(case: Case) -> list[str | Unknown]:
    owner = case.owner
    return [each.exe.path for each in owner.parents] if isinstance(owner, Process) else []


def _read_host(case: Case) -> str | dict[str, list[str]] | Unknown:
    said = names_json(case.names, case.now.monotonic_ns)["host"]
    return said if case.names.names else Unknown(case.names.why_none)


def _local_time(now: Instant) -> str:
    zone = timezone(timedelta(seconds=now.zone.offset_s))
    return datetime.fromtimestamp(now.wall_ns // 10**9, zone).strftime("%a %Y-%m-%d %H:%M:%S %z")


def _text(value: Any) -> str:  # noqa: ANN401  any field's value
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, dict):  # the names of a host
        return f"ambiguous: {' or '.join(map(_text, value['ambiguous']))}"
    return shown(str(value))


def _json(value: Any) -> Any:  # noqa: ANN401  any field's value
    if isinstance(value, list):
        return [_json(each) for each in value]
    return {"unknown": value.reason} if isinstance(value, Unknown) else value


def _outcome(ruling: Ruling, last: list[tuple[Rule, str | None]]) -> str:
    if ruling.rule is None:
        return f"{ruling.action}: {_REASONS[ruling.reason]}"
    (rule, _), *_ = last
    text = f"{ruling.action}: rule {shown(rule.name)} ({rule.origin})"
    if ruling.reason in _REASONS:
        return f"{text}: {_REASONS[ruling.reason]}"
    if ruling.entry is not None:
        entry = ruling.entry
        return f"{text}, by line {entry.line} of list {shown(entry.list_name)}: {shown(entry.text)}"
    return text


def _write_table(out: TextIO, rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    out.writelines("  ".join(map(str.ljust, row, widths)).rstrip() + "\n" for row in rows)


def _executable(path: str | None, inside: str | None = None) -> Executable:
    paths = (NOT_GIVEN if each is None else each for each in (path, inside))
    here, there = paths
    return Executable(here, NOT_GIVEN, NOT_GIVEN, inside=there)


def _itself(value: Any) -> Any:  # noqa: ANN401  any field's value
    return value


_PROTO_NAMES = PROTOCOL_NAMES | BYPASS_NAMES
_VALUES: dict[str, tuple[Reader[Any], Callable[[Any], Any]]] = {
    "exe": (core.read_exe, _itself),
    "exe_inside": (core.read_exe_inside, _itself),
    "args": (core.read_args, _itself),
    "script": (core.read_script, _itself),
    "uid": (core.read_uid, _itself),
    "gid": (core.read_gid, _itself),
    "pid": (core.read_pid, _itself),
    "comm": (core.read_comm, _itself),
    "cgroup": (core.read_cgroup, _itself),
    "unit": (core.read_units, list),
    "app": (core.read_app, _itself),
    "pod": (core.read_pod, _itself),
    "netns": (core.read_netns, _itself),
    "package": (core.read_package, _itself),
    "changed": (core.read_changed, _itself),
    "sha256": (core.read_sha256, _itself),
    "parent": (_read_parents, _itself),
    "iface": (core.read_iface, _itself),
    "iface_in": (core.read_iface_in, _itself),
    "proto": (core.read_proto, lambda proto: _PROTO_NAMES.get(proto, proto)),
    "family": (core.read_family, lambda family: family.name.lower()),
    "saddr": (core.read_saddr, address_text),
    "sport": (core.read_sport, _itself),
    "daddr": (core.read_daddr, address_text),
    "dport": (core.read_dport, _itself),
    "host": (_read_host, _itself),
}
"""Fields in the order in which they are told, how they are read, and what is shown of a value."""
_OF_PROCESS = frozenset(list(_VALUES)[: list(_VALUES).index("iface")])
_ALWAYS_SHOWN = {"exe", "args", "uid", "parent", "proto", "family", "daddr", "dport"}
_OTHER_NAME = {"uid": "user", "gid": "group", "host": "list"}
