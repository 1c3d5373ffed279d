"""Every way for a packet to leave, each tried and counted: docs/ways-out.md is made of this."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from attach_mode import present_mode, refusals, sees_packets
from nfsnitch.core.record import Json
from nfsnitch.lab.firewall import Firewall
from nfsnitch.lab.waiting import TimeIsOverError
from ways.cells import COLUMN, Cell, keep
from ways.stage import OLDER, LackingError, Opener, Place, Sent, Stage, Truth, Way, staged
from ways.table import WAYS

pytestmark = [
    pytest.mark.undisturbed,
    pytest.mark.root,
    pytest.mark.netns,
    pytest.mark.bpf,
    pytest.mark.vm_guest,
]

ALLOW_ALL = "default: allow\nunattributed: deny\nrules: []\n"
MOST_UNSURE = 3
"""Of twenty packets."""
Keep = Callable[[Cell], None]


@pytest.fixture(name="stage", scope="module")
def fixture_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One firewall for all ways."""
    rules = tmp_path_factory.mktemp("ways") / "rules.yaml"
    rules.write_text(ALLOW_ALL, encoding="utf-8")
    with staged(rules, WAYS) as stage:
        yield stage


@pytest.fixture(name="keep_cell")
def fixture_keep_cell(record_property: Callable[[str, object], None]) -> Keep:
    """Keep a cell: in a guest, with the test's result."""
    if "NFSNITCH_RESULTS" in os.environ:
        return lambda cell: record_property("cell", cell._asdict())
    return lambda cell: keep([cell])


def records_of(firewall: Firewall, sent: Sent, start: int) -> dict[str, list[Json]]:
    """Return all records of what was sent, by destination, once there is one of each.

    All are later than number *start*.
    """
    missing = set(sent.destinations)

    def is_first(record: Json) -> bool:
        is_missing = record["daddr"] in missing
        missing.discard(record["daddr"])
        return is_missing

    try:
        firewall.wait_for_records(is_first, len(missing), 30, start=start)
    except TimeIsOverError as problem:
        pytest.fail(f"no record for {sorted(missing)}: {problem}")
    found: dict[str, list[Json]] = {daddr: [] for daddr in sent.destinations}
    for record in firewall.records[start:]:
        found.get(record["daddr"], []).append(record)
    return found


def wrong(record: Json, truth: Truth, sent: Sent) -> list[str]:
    """Return what a record says that is not so."""
    says = {
        "owner": (record["owner"], "process"),
        "pid": (record["pid"], truth.pid),
        "uid": (record["uid"], sent.uid),
        "exe_inode": (record["exe_inode"], truth.inode),
        "exe_deleted": (record["exe_deleted"], truth.deleted),
        "script": (record.get("script"), sent.script or record.get("script")),
        "tid": (record["tid"], truth.tid if sent.by_thread else record["tid"]),
        "rivals": (record.get("rivals"), None),
    }
    if sees_packets() and sent.opener != OLDER:
        says["attribution"] = (record["attribution"], "queue-probe")
    found = [f"{name}: {is_} is not {ought}" for name, (is_, ought) in says.items() if is_ != ought]
    if not is_path(record["exe"], sent.exe or truth.exe):
        found.append(f"exe: {record['exe']} is not {sent.exe or truth.exe}")
    # By /proc it is not known who opened it.
    opener = OLDER if record["attribution"] == "proc" else sent.opener
    if not is_opener(record.get("opener"), opener):
        found.append(f"opener: {record.get('opener')} is not {sent.opener}")
    return found


def is_path(said: str | dict[str, str], path: str) -> bool:
    """Whether a record says that path, or says for the reason that is meant why it is unknown."""
    if isinstance(said, str):
        return said == path
    return path.startswith("?") and path[1:] in said["unknown"]


def is_opener(said: Json | None, opener: Opener | str | None) -> bool:
    """Whether a record names the opener if that is another, and says so if nobody knows."""
    if said is None or opener is None:
        return said is None and opener is None
    if opener == OLDER:
        return "unknown" in said
    return isinstance(opener, Opener) and (said.get("pid"), said.get("exe")) == tuple(opener)


def faults(firewall: Firewall, sent: Sent, start: int) -> dict[str, list[str]]:
    """Return by destination what is wrong about its records."""
    found = records_of(firewall, sent, start)
    by_program = {
        truth.daddr: [fault for each in found[truth.daddr] for fault in wrong(each, truth, sent)]
        for truth in sent.truths
    }
    by_kernel = {
        daddr: [f"owner: {each['owner']}" for each in found[daddr] if each["owner"] != "kernel"]
        for daddr in sent.by_kernel
    }
    return {daddr: why for daddr, why in (by_program | by_kernel).items() if why}


def is_unsure(reason: str | None, wrong: list[str]) -> bool:
    """Whether a record says only that its owner is unknown, for the reason that is known."""
    return reason is not None and any(reason in each for each in wrong)


@pytest.mark.parametrize("number", range(len(WAYS)), ids=[way.name for way in WAYS])
def test_each_packet_is_its_senders_whichever_way_it_leaves(
    stage: Stage, keep_cell: Keep, number: int
) -> None:
    """The right process, executable and opener, or a reason that the table of ways has a name for.

    A mode that is said to be blind must be: else the reason is out of date.
    """
    way, mode, firewall = WAYS[number], present_mode(), stage.firewall
    assert firewall is not None
    start = len(firewall.records)
    try:
        sent = way.send(stage, Place(number))
    except LackingError:
        if not way.needs:  # every kernel has what this takes
            raise
        keep_cell(Cell.here(mode, way.name, 0, 0, lacks(way)))
        return
    assert len(sent.destinations) == way.count
    bad = faults(firewall, sent, start)
    why = way.blind.get(mode, "")
    keep_cell(Cell.here(mode, way.name, way.count - len(bad), way.count, why))
    unsure = {daddr for daddr, each in bad.items() if is_unsure(way.unsure.get(mode), each)}
    assert len(unsure) <= min(MOST_UNSURE, way.count // 2), (
        f"{mode} is unsure of more than a few: {sorted(unsure)}"
    )
    bad = {daddr: each for daddr, each in bad.items() if daddr not in unsure}

    if why:
        assert bad, f"{mode} does see it, against what is said: {why}"
    else:
        assert not bad


def lacks(way: Way) -> str:
    """Return the reason for a kernel without what a way takes."""
    return f"this kernel has no {way.needs}"


def test_the_modes_that_this_kernel_refuses_are_named(keep_cell: Keep) -> None:
    refused = {mode: why for mode, why in refusals().items() if why is not None}

    for mode, why in refused.items():
        keep_cell(Cell.here(mode, COLUMN, 0, 0, why))

    assert present_mode() not in refused
    assert all(refused.values())
