"""What a scenario expects, as steps of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nfsnitch.adapters.rulefile.document import Mapping as MappingNode
from nfsnitch.adapters.rulefile.document import Node
from nfsnitch.adapters.rulefile.problems import Position, Refused, closest, listed
from nfsnitch.core.counters import Counter
from nfsnitch.lab.scenario import model
from nfsnitch.lab.scenario import reading_values as values
from nfsnitch.lab.scenario.model import Expectation, Range
from nfsnitch.lab.scenario.reading_nodes import plain, texts
from nfsnitch.lab.scenario.reading_packets import read_wanted
from nfsnitch.lab.scenario.reading_scope import Scope
from nfsnitch.lab.scenario.standard import CLIENT, SERVER

WITHIN_NS: Final = 10 * 10**9
"""How long what is expected may take, unless the file says so."""
COUNTERS: Final = tuple(counter.value for counter in Counter)
JUDGED: Final = "judged"
"""Counted as well, by nftables: packets that were picked for the queue."""
FIGURES: Final = ("held_flows", "questions", "known_names", "lasting_answers", "temporary_answers")
"""Other numbers of the status: these as they are, not how they have grown."""
_counter = values.known("counter", (*COUNTERS, JUDGED, *FIGURES))
RECORD_FIELDS: Final = (
    *("time", "verdict", "action", "rule", "reason", "generation", "attribution", "held_ms"),
    *("packets", "owner", "pid", "tid", "start_time", "exe", "exe_device", "exe_inode"),
    *("exe_deleted", "args", "uid", "gid", "cgroup", "cgroup_id", "parents", "comm", "opener"),
    *("sha256", "changed", "package", "previous_sha256", "package_updated", "exe_inside"),
    *("script", "user", "group", "appimage", "unit", "app", "pod", "desktop", "netns", "proto"),
    *("saddr", "sport", "daddr", "dport", "icmp_type", "icmp_code", "socket_type", "ethertype"),
    *("host", "names", "list", "iface", "iface_in", "rivals"),
)
"""Fields of records that can be looked at; questions have some of them."""
_SUBJECTS: Final[Mapping[str, tuple[str, ...]]] = {
    "record": ("count",),
    "no_record": (),
    "arrived": ("at", "interface", "count"),
    "nothing_arrived": ("at", "interface"),
    "sent": ("at", "interface", "count"),
    "nothing_sent": ("at", "interface"),
    "counter": ("count",),
    "end": ("status", "stdout", "stderr"),
}
"""What can be expected, and the keys that stand beside it."""
_NONE_OF = {"no_record", "nothing_arrived", "nothing_sent"}
_EXAMPLE = "write as in {record: {verdict: allow, dport: 80}}"


def read_expectation(position: Position, node: Node, scope: Scope) -> Expectation | None:
    """Return what is expected by the step at *node*."""
    subject = _subject(node, scope)
    if subject is None:
        return None
    what = f"expect {subject}"
    keys = (subject, *_SUBJECTS[subject], "within")
    read = scope.nodes.fields(node, what, keys)
    if read is None:
        return None
    within_ns = scope.nodes.value(read.get("within"), "within", values.duration_ns, WITHIN_NS)
    otherwise = values.NONE if subject in _NONE_OF else values.ANY_NUMBER
    count = scope.nodes.value(read.get("count"), "count", _count, otherwise)
    if subject in {"record", "no_record"}:
        fields = read_fields(read[subject], "record", scope)
        return model.ExpectRecord(position, fields, count, within_ns)
    if subject == "counter":
        name = scope.nodes.value(read[subject], "counter", _counter, "")
        return model.ExpectCounter(position, name, count, within_ns)
    if subject == "end":
        return _end(position, read, scope, within_ns)
    return _packets(position, subject, read, scope, (count, within_ns))


def read_fields(node: Node, what: str, scope: Scope) -> Mapping[str, Any]:
    """Return fields of a record or a question with their values; texts of ranges are ranges."""
    example = f"{what}: {{dport: 80}}"
    found: dict[str, Any] = {}
    for name, each in scope.nodes.named(node, f"field of {what}", _field, example).items():
        try:
            found[name] = _wanted(plain(each), scope)
        except Refused as problem:
            scope.nodes.refuse(each, name, problem)
    if isinstance(node, MappingNode) and not node.pairs:
        refused = Refused("it says nothing", f"write as in {example}")
        scope.nodes.refuse(node, what, refused)
    return found


def _wanted(given: Any, scope: Scope) -> Any:  # noqa: ANN401  it is a value of YAML
    for text in texts(given):
        scope.text(text)
    return values.record_values(given)


def _subject(node: Node, scope: Scope) -> str | None:
    pairs = scope.nodes.pairs(node, "expect", _EXAMPLE)
    if pairs is None:
        return None
    found = [key.text for key in pairs if key.text in _SUBJECTS]
    if len(found) == 1:
        return found[0]
    why = f"it has one of {listed(_SUBJECTS)}"
    wrong = next((key.text for key in pairs), "")
    instead = _EXAMPLE if found else closest(wrong, _SUBJECTS, _EXAMPLE)
    scope.nodes.refuse(node, "expect", Refused(why, instead))
    return None


def _packets(
    position: Position,
    subject: str,
    read: Mapping[str, Node],
    scope: Scope,
    expected: tuple[Range, int],
) -> Expectation:
    sent = subject in {"sent", "nothing_sent"}
    host = scope.host(read.get("at"), "at", CLIENT if sent else SERVER)
    count, within_ns = expected
    return model.ExpectArrived(
        position,
        host,
        scope.interface(read.get("interface"), host),
        read_wanted(read[subject], scope.nodes),
        count,
        within_ns,
        sent,
    )


def _end(position: Position, read: Mapping[str, Node], scope: Scope, within_ns: int) -> Expectation:
    nodes = scope.nodes
    return model.ExpectEnd(
        position,
        nodes.value(read["end"], "end", scope.run, ""),
        nodes.value(read.get("status"), "status", values.range_of, None),
        nodes.value(read.get("stdout"), "stdout", scope.text, None),
        nodes.value(read.get("stderr"), "stderr", scope.text, None),
        within_ns,
    )


def _count(text: str) -> Range:
    count = values.range_of(text)
    if count.most < 0:
        raise Refused("nothing comes so often", "write 0 or more")
    return count


def _field(text: str) -> str:
    name = text.partition(".")[0]
    if name not in RECORD_FIELDS:
        instead = closest(name, RECORD_FIELDS, "write one that nfsnitch's records have")
        raise Refused("there is no such field", instead)
    return text
