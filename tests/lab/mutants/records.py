"""Faults in what records say."""

from __future__ import annotations

import json
from collections.abc import Callable

from lab.mutants.mutant import Function, around, mutant
from nfsnitch.core.flow import NO_PORTS
from nfsnitch.core.record import Json, Record
from nfsnitch.core.record_line import RecordLines
from nfsnitch.core.unknown import Unknown

_UNKNOWN = {"unknown": "it was left away"}


def _written(change: Callable[[Json], Json]) -> None:
    """Have *change* make another record of each, as it is written."""

    def as_json(real: Function, record: Record) -> Json:
        return change(real(record))

    def line(real: Function, lines: RecordLines, record: Record) -> str:
        return json.dumps(change(json.loads(real(lines, record))))

    around(Record, "as_json", as_json)  # for those who watch
    around(RecordLines, "line", line)


def _without(*names: str) -> None:
    _written(lambda record: {name: value for name, value in record.items() if name not in names})


@mutant("record-without-uid", "records do not say whose program it is", "asking/another-user")
def _record_without_uid() -> None:
    _without("uid")


@mutant("record-without-exe", "records do not say which program", "tcp/two-programs")
def _record_without_exe() -> None:
    _written(lambda record: record | {"exe": _UNKNOWN})


@mutant("record-without-parents", "records do not say who started it", "asking/parent")
def _record_without_parents() -> None:
    _written(lambda record: record | {"parents": []})


@mutant("record-without-cgroup", "records do not say which cgroup", "asking/cgroup")
def _record_without_cgroup() -> None:
    _without("cgroup")


@mutant("record-without-host", "records do not say the name", "names/two-names-one-denied")
def _record_without_host() -> None:
    _written(lambda record: record | {"host": _UNKNOWN})


@mutant("record-without-list", "records do not say which line of a list", "names/list-of-domains")
def _record_without_list() -> None:
    _without("list")


@mutant("record-without-icmp", "records do not say the type of ICMP", "icmp/other-types")
def _record_without_icmp() -> None:
    _without("icmp_type", "icmp_code")


@mutant("held-0", "records say that nobody was held for any time", "asking/gone")
def _held_0() -> None:
    _written(lambda record: record | {"held_ms": 0.0})


@mutant(
    "packets-1",
    "records tell of one packet each",
    "tcp/retransmission-while-held",
)
def _packets_1() -> None:
    _written(lambda record: record | {"packets": 1})


@mutant("iface-wrong", "records name another interface", "ip/vlan", "protocols/multicast")
def _iface_wrong() -> None:
    _written(lambda record: record | {"iface": "lo"})


@mutant("ends-swapped", "records have source and destination the wrong way round", "tcp/port-reuse")
def _ends_swapped() -> None:
    def swapped(record: Json) -> Json:
        ends = {"saddr": "daddr", "daddr": "saddr", "sport": "dport", "dport": "sport"}
        return record | {name: record[other] for name, other in ends.items()}

    _written(swapped)


@mutant("sport-0", "packets without ports are said to be from port 0", "protocols/gre")
def _sport_0() -> None:
    none = {"unknown": NO_PORTS.reason}
    _written(lambda record: {key: 0 if each == none else each for key, each in record.items()})


@mutant("unknown-is-null", "what is not known is null in records", "protocols/gre")
def _unknown_is_null() -> None:
    from nfsnitch.core import record  # noqa: PLC0415

    around(record, "_value", lambda _real, value: None if isinstance(value, Unknown) else value)
