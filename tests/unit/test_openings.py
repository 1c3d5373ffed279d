"""Sockets past netfilter: the rules that hooks get, and the records that come of what they tell."""

from __future__ import annotations

import collections
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from builders import KernelImage, KernelOwner, image_key, instant, process
from fakes import FakeOwners, FakePrograms
from nfsnitch.adapters.bpf import layout
from nfsnitch.adapters.bpf.core_loader import LoadedPrograms
from nfsnitch.adapters.bpf.libbpf import SAMPLES_AT_ONCE
from nfsnitch.adapters.bpf.openings import OpeningHooks
from nfsnitch.adapters.rate_limit import TimeLimit
from nfsnitch.adapters.rulefile import Names, load
from nfsnitch.core.attach import AttachMode
from nfsnitch.core.counters import Counter
from nfsnitch.core.flow import Bypass
from nfsnitch.core.opening import MAX_OPENING_RULES, Opening, OpeningRule, OpeningTest, Texts
from nfsnitch.core.owner import Owner
from nfsnitch.core.record import Json, Record
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.openings import RECORD_AGAIN_NS, Openings, World
from nfsnitch.reload import RulesRefusedError

TCPDUMP = image_key(300)
ALLOW, REFUSE, UNJUDGED = 1, 2, 0
NO_RULE = 2**32 - 1
ETH_P_ALL_BE = 0x0300
REFUSE_ALL = "rules: [{name: none, action: deny, proto: [packet, xdp]}]"


class Machine:
    """Hooks, the table of such sockets, and who holds them."""

    def __init__(self, tmp_path: Path, mode: AttachMode = AttachMode.LSM) -> None:
        self.kernel = FakeOwners()
        self.programs = self.kernel.programs
        self.programs.mode = mode
        self.kernel.has_image(TCPDUMP, KernelImage(exe=b"/usr/bin/tcpdump"))
        self.records: list[Record] = []
        self.counters: collections.Counter[Counter] = collections.Counter()
        self.sockets: dict[int, Opening] = {}
        self.gone = False
        self.seconds = 0.0
        self._file = tmp_path / "rules.yaml"
        world = World(
            self.kernel.store.owner_of,
            self.records.append,
            lambda: instant(self.seconds),
            7,
            self.counters,
            TimeLimit(0, 60_000, 60),
            self.listed,
            lambda inode: [inode] if inode < 100 else [],
            self.process,
        )
        self.openings = Openings(cast("LoadedPrograms", self.programs), world)

    def listed(self) -> dict[int, Opening]:
        if self.gone:
            raise OSError(errno.EIO, "gone")
        return dict(self.sockets)

    def process(self, pid: int) -> Owner:
        return process("/usr/bin/tcpdump", pid)

    def rules(self, text: str) -> Ruleset:
        self._file.write_text(text, encoding="utf-8")
        return load([self._file], Names(lambda _user: None, lambda _service: frozenset()))

    def tells(
        self, action: int, rule: int = NO_RULE, generation: int = 1, *, heard: bool = True
    ) -> None:
        owner = KernelOwner(TCPDUMP).packed()
        numbers = (17, 3, ETH_P_ALL_BE, action, rule, generation)
        (ring,) = self.programs.opening_rings
        ring.tell(layout.OPENING.pack(owner, *numbers))
        if heard:
            self.openings.hear()

    def last(self) -> Json:
        return self.records[-1].as_json()


@pytest.fixture(name="machine")
def fixture_machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def hooks_of(programs: FakePrograms) -> OpeningHooks:
    return OpeningHooks(cast("LoadedPrograms", programs), lambda _opened: None)


def rule(*tests: OpeningTest, refuses: bool = True) -> OpeningRule:
    return OpeningRule("a", refuses, frozenset({Bypass.XDP}), tests)


def in_force(programs: FakePrograms) -> Iterator[tuple[int, ...]]:
    """Yield the rules as the hook meets them."""
    config = programs.opening_config.get(layout.OPENING_SLOT.pack(0))
    assert config is not None
    bank = layout.OPENING_CONFIG.unpack(config)[2]
    for at in range(MAX_OPENING_RULES):
        raw = programs.opening_rules.get(
            layout.OPENING_SLOT.pack(bank * MAX_OPENING_RULES + at)
        ) or bytes(layout.OPENING_RULE.size)
        fields = layout.OPENING_RULE.unpack(raw)
        if fields[0] == 0:
            return
        yield fields


def test_a_hook_gets_a_rule_with_the_bits_of_its_fields_and_their_values() -> None:
    programs = FakePrograms()
    texts = Texts(frozenset({b"/bin/a"}), frozenset({b"/opt/"}))
    tests = (
        OpeningTest("gid", negated=True, wanted=frozenset({5})),
        OpeningTest("exe", negated=False, wanted=texts),
    )
    hooks_of(programs).use([rule(*tests)], 3, refuse_unattributed=True)

    slot = MAX_OPENING_RULES
    assert list(in_force(programs)) == [(REFUSE, 2, 1 << 2 | 1 << 4, 1 << 2, 3)]
    assert set(programs.opening_numbers.keys()) == {layout.OPENING_NUMBER.pack(slot, 2, 5)}
    assert set(programs.opening_texts.keys()) == {
        layout.OPENING_TEXT.pack(8 * (4 + 7), slot << 16 | 4, b"/bin/a\0"),
        layout.OPENING_TEXT.pack(8 * (4 + 5), slot << 16 | 4, b"/opt/"),
    }


def test_the_rules_before_are_gone_when_others_are_in_force() -> None:
    programs = FakePrograms()
    hooks = hooks_of(programs)
    one = rule(OpeningTest("uid", negated=False, wanted=frozenset({1})))
    for generation in (1, 2, 3):
        hooks.use([one] * generation, generation, refuse_unattributed=False)
        assert [each[4] for each in in_force(programs)] == [generation] * generation
        assert len(list(programs.opening_numbers.keys())) == generation

    hooks.use([], 4, refuse_unattributed=False)

    assert list(in_force(programs)) == []
    assert not list(programs.opening_numbers.keys())


def test_rules_that_the_kernel_does_not_take_leave_those_before_in_force(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.openings.rules_changed(machine.rules(REFUSE_ALL), 1)

    def full(_key: bytes, _value: bytes) -> None:
        raise OSError(errno.E2BIG, "too many")

    monkeypatch.setattr(machine.programs.opening_numbers, "put", full)
    others = machine.rules("rules: [{name: b, action: deny, proto: packet, uid: 1}]")
    with pytest.raises(RulesRefusedError, match="the kernel refused the rules: too many"):
        machine.openings.rules_changed(others, 2)

    assert [each[4] for each in in_force(machine.programs)] == [1]


def test_nothing_is_looked_at_before_the_beginning_and_after_the_end(machine: Machine) -> None:
    def netns_cookie() -> int:
        raw = machine.programs.opening_config.get(layout.OPENING_SLOT.pack(0))
        return int(layout.OPENING_CONFIG.unpack(raw or bytes(24))[0])

    machine.openings.rules_changed(machine.rules(REFUSE_ALL), 1)
    before = netns_cookie()
    machine.openings.begin(machine.rules(REFUSE_ALL), 1)
    meanwhile = netns_cookie()
    machine.openings.close()

    assert (before, netns_cookie()) == (0, 0)
    assert meanwhile > 0


def test_what_a_hook_refused_is_recorded_with_rule_and_owner(machine: Machine) -> None:
    machine.openings.rules_changed(machine.rules(REFUSE_ALL), 1)
    machine.tells(REFUSE, rule=0)

    record = machine.last()
    assert (record["verdict"], record["action"], record["rule"]) == ("reject", "deny", "none")
    assert (record["proto"], record["exe"]) == ("packet", "/usr/bin/tcpdump")
    assert (record["socket_type"], record["ethertype"]) == ("raw", 3)
    assert "unknown" in record["daddr"]
    assert machine.counters == {Counter.OPENINGS_REFUSED: 1}


def test_what_was_judged_by_the_rules_before_a_reload_names_their_rule(machine: Machine) -> None:
    machine.openings.rules_changed(machine.rules(REFUSE_ALL), 1)
    machine.openings.rules_changed(machine.rules(REFUSE_ALL.replace("none", "other")), 2)
    machine.tells(REFUSE, rule=0, generation=1)

    assert machine.last()["rule"] == "none"


def test_what_no_rule_matched_was_opened_by_default(machine: Machine) -> None:
    machine.openings.rules_changed(machine.rules("default: deny\nrules: []"), 1)
    machine.tells(ALLOW, generation=0)

    assert (machine.last()["verdict"], machine.last()["reason"]) == ("accept", "default")


def test_what_nobody_judged_says_that_it_should_have_been_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    machine = Machine(tmp_path, AttachMode.KPROBE)
    machine.openings.rules_changed(machine.rules(REFUSE_ALL), 1)
    machine.tells(UNJUDGED, generation=0)

    record = machine.last()
    assert (record["verdict"], record["action"]) == ("accept", "deny")
    assert (record["reason"], record["rule"]) == ("unrefusable", "none")
    assert "rule 'none' refuses sockets past netfilter" in caplog.text


def test_one_outcome_is_recorded_once_a_minute_and_counted_each_time(machine: Machine) -> None:
    machine.openings.rules_changed(machine.rules(REFUSE_ALL), 1)
    for _ in range(3):
        machine.tells(REFUSE, rule=0)
    machine.tells(ALLOW)
    machine.seconds += RECORD_AGAIN_NS / 1e9
    machine.tells(REFUSE, rule=0)

    assert [record.decision.verdict for record in machine.records] == ["reject", "accept", "reject"]
    assert machine.counters == {Counter.OPENINGS_REFUSED: 4, Counter.OPENINGS: 1}


def test_all_that_was_told_before_the_end_is_heard_before_it(machine: Machine) -> None:
    machine.openings.rules_changed(machine.rules(REFUSE_ALL), 1)
    told = 2 * SAMPLES_AT_ONCE + 1
    for _ in range(told):
        machine.tells(REFUSE, rule=0, heard=False)
    machine.openings.hear_all()

    assert len(machine.records) == 1
    assert machine.counters == {Counter.OPENINGS_REFUSED: told}


def test_who_opens_on_and_on_does_not_keep_the_daemon_from_its_end(machine: Machine) -> None:
    machine.openings.rules_changed(machine.rules(REFUSE_ALL), 1)
    heard: list[int] = []

    def consume() -> bool:
        heard.append(1)
        return True

    (ring,) = machine.programs.opening_rings
    ring.consume = consume  # type: ignore[method-assign]
    machine.openings.hear_all()

    assert 1 < len(heard) < 1_000


def test_in_cgroup_mode_new_sockets_are_found_in_the_kernels_list(tmp_path: Path) -> None:
    machine = Machine(tmp_path, AttachMode.CGROUP)
    packet, xdp = Opening(Bypass.PACKET, 3, 3), Opening(Bypass.XDP, 3, 0)
    machine.sockets = {41: packet}
    machine.openings.begin(machine.rules("rules: []"), 1)
    machine.sockets |= {42: xdp, 142: packet}
    machine.openings.tick()
    machine.openings.tick()

    found = [(record.as_json()["proto"], record.decision.reason) for record in machine.records]
    assert found[0] == ("packet", "older")
    assert sorted(found[1:]) == [("packet", "unattributed"), ("xdp", "default")]
    assert {record.as_json()["owner"] for record in machine.records} == {"process", "unknown"}


def test_a_list_that_cannot_be_had_is_counted_and_makes_nothing_new(tmp_path: Path) -> None:
    machine = Machine(tmp_path, AttachMode.CGROUP)
    machine.sockets = {41: Opening(Bypass.PACKET, 3, 3)}
    machine.openings.begin(machine.rules("rules: []"), 1)
    machine.gone = True
    machine.openings.tick()
    machine.gone = False
    machine.openings.tick()

    assert len(machine.records) == 1
    assert machine.counters[Counter.OPENING_ERRORS] == 1


def test_where_hooks_tell_the_list_is_not_looked_at_again(machine: Machine) -> None:
    machine.openings.begin(machine.rules("rules: []"), 1)
    machine.sockets = {41: Opening(Bypass.PACKET, 3, 3)}
    machine.openings.tick()

    assert machine.records == []
