"""``nfsnitch explain``: say which rule would decide a flow, and why those before it would not."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TextIO, cast

from nfsnitch.core.case import Case
from nfsnitch.core.conditions import (
    read_args,
    read_daddr,
    read_dport,
    read_exe,
    read_family,
    read_proto,
    read_uid,
)
from nfsnitch.core.decision import Reason
from nfsnitch.core.flow import PROTOCOL_NAMES, Family, Flow, address_text
from nfsnitch.core.instant import Instant
from nfsnitch.core.owner import Ancestor, Executable, Kernel, Owner, Process
from nfsnitch.core.rule import Rule, Ruleset, Ruling
from nfsnitch.core.text import shown
from nfsnitch.core.unknown import Unknown

NOT_GIVEN = Unknown("not given on the command line")

_FIRST_PID = 1
_REASONS = {
    Reason.DEFAULT: "no rule matches: default",
    Reason.UNATTRIBUTED: "no rule matches and the owner is not known: unattributed",
}


@dataclass(frozen=True, slots=True)
class Question:
    """A flow and its owner as far as the command line tells."""

    owner: Owner
    proto: int | Unknown = NOT_GIVEN
    daddr: bytes | Unknown = NOT_GIVEN
    dport: int | Unknown = NOT_GIVEN

    @property
    def family(self) -> Family | Unknown:
        """The family of the address."""
        if isinstance(self.daddr, Unknown):
            return self.daddr
        return Family.IPV4 if len(self.daddr) == 4 else Family.IPV6  # noqa: PLR2004

    @property
    def case(self) -> Case:
        """What to ask the rules about."""
        # A packet always tells its protocol and its addresses, so Flow has no place for an Unknown
        # there; conditions look for one all the same, and here alone they meet it.
        unknown = cast("Any", NOT_GIVEN)
        family, proto, daddr = cast("Any", (self.family, self.proto, self.daddr))
        flow = Flow(family, proto, unknown, daddr, unknown, self.dport)
        return Case(flow, self.owner, NOT_GIVEN, Instant(0, 0))


def process(
    exe: str | None, args: str | None, uid: int | None, parents: tuple[str, ...]
) -> Process:
    """Return a process of which only this is known; *parents* is the whole chain, nearest first."""
    above = len(parents)
    chain = tuple(
        Ancestor(_FIRST_PID + above - 1 - at, 0, _executable(path))
        for at, path in enumerate(parents)
    )
    return Process(
        pid=_FIRST_PID + above,
        tid=_FIRST_PID + above,
        start_time_ns=0,
        uid=cast("Any", NOT_GIVEN if uid is None else uid),
        gid=cast("Any", NOT_GIVEN),
        exe=_executable(exe),
        args=NOT_GIVEN if args is None else tuple(args.split(" ")),
        comm="",
        parents=chain or (Ancestor(_FIRST_PID, 0, _executable(None)),),
        cgroup_id=NOT_GIVEN,
        cgroup=NOT_GIVEN,
        netns=NOT_GIVEN,
    )


def explain(ruleset: Ruleset, question: Question, out: TextIO) -> None:
    """Write for people how *ruleset* decides."""
    case = question.case
    _write_table(out, [(field, _text(value)) for field, value in _asked(case).items()])
    out.write("\n")
    mismatches = list(ruleset.mismatches(case))
    rows = [
        (shown(rule.name), "matches" if field is None else f"no match: {field}", rule.origin)
        for rule, field in mismatches
    ]
    _write_table(out, rows)
    out.write("\n" if rows else "")
    out.write(f"{_outcome(ruleset.rule_on(case), mismatches[-1:])}\n")


def explain_json(ruleset: Ruleset, question: Question, out: TextIO) -> None:
    """Write the same as one JSON document."""
    case = question.case
    ruling = ruleset.rule_on(case)
    document = {
        "asked": {field: _json(value) for field, value in _asked(case).items()},
        "rules": [
            {"rule": rule.name, "origin": rule.origin, "matches": field is None, "mismatch": field}
            for rule, field in ruleset.mismatches(case)
        ],
        "action": ruling.action.value,
        "reason": ruling.reason.value,
        "rule": ruling.rule,
    }
    out.write(f"{json.dumps(document, indent=2)}\n")


def _asked(case: Case) -> dict[str, Any]:
    """Return what is known of the flow and its owner, by the fields of rules."""
    owner = case.owner
    asked: dict[str, Any] = {}
    if isinstance(owner, Process):
        asked["exe"] = read_exe(case)
        asked["args"] = read_args(case)
        asked["uid"] = read_uid(case)
        asked["parent"] = [ancestor.exe.path for ancestor in owner.parents]
    else:
        asked["owner"] = "kernel" if isinstance(owner, Kernel) else owner
    asked["proto"] = _named(read_proto(case), lambda proto: PROTOCOL_NAMES.get(proto, proto))
    asked["family"] = _named(read_family(case), lambda family: family.name.lower())
    asked["daddr"] = _named(read_daddr(case), address_text)
    asked["dport"] = read_dport(case)
    return asked


def _named(value: Any, name: Callable[[Any], Any]) -> Any:  # noqa: ANN401  any field's value
    return value if isinstance(value, Unknown) else name(value)


def _text(value: Any) -> str:  # noqa: ANN401  any field's value
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return shown(str(value))


def _json(value: Any) -> Any:  # noqa: ANN401  any field's value
    if isinstance(value, list):
        return [_json(each) for each in value]
    return {"unknown": value.reason} if isinstance(value, Unknown) else value


def _outcome(ruling: Ruling, last: list[tuple[Rule, str | None]]) -> str:
    if ruling.rule is None:
        return f"{ruling.action}: {_REASONS[ruling.reason]}"
    (rule, _), *_ = last
    return f"{ruling.action}: rule {shown(rule.name)} ({rule.origin})"


def _write_table(out: TextIO, rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    out.writelines("  ".join(map(str.ljust, row, widths)).rstrip() + "\n" for row in rows)


def _executable(path: str | None) -> Executable:
    return Executable(NOT_GIVEN if path is None else path, NOT_GIVEN, NOT_GIVEN)
