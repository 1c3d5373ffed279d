"""What is written into the kernel's maps of verdicts, and what is read of what it tells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from builders import KernelImage, KernelOwner, datagrams, flow, image_key, process
from fakes import FakePrograms
from nfsnitch.adapters.bpf import layout
from nfsnitch.adapters.bpf.layout import ImageFlag, OwnerFlag
from nfsnitch.adapters.bpf.owners import OwnerStore
from nfsnitch.adapters.bpf.verdict_cache import CachedFlow, VerdictCache
from nfsnitch.adapters.rate_limit import TimeLimit
from nfsnitch.core.commands import CacheVerdict, PassFlow
from nfsnitch.core.decision import Action, Decision, Reason, Verdict
from nfsnitch.core.owner import Process
from nfsnitch.core.standing import Reach

if TYPE_CHECKING:
    from nfsnitch.adapters.bpf.core_loader import LoadedPrograms

COOKIE = 8_001
ALLOWED = Decision(Verdict.ACCEPT, Action.ALLOW, Reason.RULE, "web")
REJECTED = Decision(Verdict.REJECT, Action.REJECT, Reason.DEFAULT, None)
NETNS = 4_026_531_840
SLOT = layout.OPENING_SLOT.pack(0)


class Kernel:
    """The maps with one socket of curl's in them, and the cache that writes there."""

    def __init__(self, image: KernelImage | None = None, owner: KernelOwner | None = None) -> None:
        self.programs = FakePrograms()
        key = image_key(4_711)
        self.programs.images.put(key, (image or KernelImage()).packed())
        self.programs.owners.put(
            layout.COOKIE.pack(COOKIE), (owner or KernelOwner(key, gid=1_000)).packed()
        )
        self.cache = VerdictCache(cast("LoadedPrograms", self.programs))
        self.cache.begin(3, by_cgroup=False)

    @property
    def generation(self) -> int:
        """Of which verdicts count."""
        raw = self.programs.verdict_config.get(SLOT)
        assert raw is not None
        return int(layout.VERDICT_SETTINGS.unpack(raw)[0])

    def verdicts(self) -> list[tuple[int, ...]]:
        """Return generation and action of each verdict that is there."""
        found = (self.programs.verdicts.get(key) for key in self.programs.verdicts.keys())  # noqa: SIM118
        return [layout.VERDICT.unpack(raw)[1:3] for raw in found if raw is not None]

    def tell(self, generation: int, number: int, action: int) -> CachedFlow | None:
        """Tell of a flow as the kernel would, and return what was heard."""
        it = flow()
        decided = (number, generation, action, 2)
        daddr = it.daddr.ljust(16, b"\0")
        from_ = (it.saddr.ljust(16, b"\0"), it.dport, it.family, it.proto)
        who = (image_key(4_711), 4_712, 1_000, 1_000, NETNS, b"curl".ljust(16, b"\0"))
        told = layout.CACHED.pack(123, 50_000, 0, daddr, *decided, *from_, *who)
        self.programs.cached_rings[0].tell(told)
        ((seen_ns, sport, alike),) = self.cache.told(9)
        assert (seen_ns, sport) == (123, 50_000)
        self.cache.taken(1)
        assert list(self.cache.told(9)) == []
        return self.cache.flow_told(sport, alike)


def claims(kernel: Kernel) -> bool:
    raw = kernel.programs.verdict_config.get(SLOT)
    assert raw is not None
    return bool(layout.VERDICT_SETTINGS.unpack(raw)[2])


def test_who_notes_whose_a_packet_is_stays_the_same_when_the_rules_change() -> None:
    kernel = Kernel()
    at_first = claims(kernel)
    kernel.cache.sees_queued(sees=True)
    generation = kernel.generation
    kernel.cache.begin(4, by_cgroup=False)
    later = claims(kernel)
    kernel.cache.sees_queued(sees=False)

    assert (at_first, later, claims(kernel)) == (False, True, False)
    assert kernel.generation == generation + 1  # by the rules alone


def curl() -> Process:
    return replace(process(), gid=1_000, netns=NETNS)


def verdict(decision: Decision = ALLOWED) -> CacheVerdict:
    return CacheVerdict(flow(), COOKIE, curl(), decision, None)


def test_a_decision_is_written_down_by_program_and_destination_and_counts_now() -> None:
    kernel = Kernel()
    kernel.cache.add(verdict())

    (key,) = kernel.programs.verdicts.keys()
    image = KernelImage()
    assert layout.VERDICT_KEY.unpack(key) == (
        *(image.exe_inode, image.exe_changed_ns, image.exe_hash, 0, image.exe_device, image.mntns),
        *(1_000, 1_000, NETNS, flow().daddr + bytes(12), 80, 4, 6),
    )
    assert kernel.verdicts() == [(kernel.generation, 1)]


def test_what_holds_at_other_destinations_is_written_down_for_all_of_them() -> None:
    kernel = Kernel()
    kernel.cache.add(verdict()._replace(reach=Reach.PORT))
    kernel.cache.add(verdict()._replace(reach=Reach.ANYWHERE))

    keys = [layout.VERDICT_KEY.unpack(key) for key in kernel.programs.verdicts.keys()]  # noqa: SIM118
    any_address, any_destination = 4 | layout.ANY_ADDRESS, 4 | layout.ANY_ADDRESS | layout.ANY_PORT
    assert [key[-4:] for key in keys] == [
        (bytes(16), 80, any_address, 6),
        (bytes(16), 0, any_destination, 6),
    ]


def test_with_other_rules_nothing_counts_that_was_written_before() -> None:
    kernel = Kernel()
    kernel.cache.add(verdict())
    before = kernel.generation
    kernel.cache.begin(3, by_cgroup=False)

    assert kernel.generation not in {0, before}
    assert kernel.verdicts() == [(before, 1)]


def test_a_daemon_goes_on_from_the_generation_that_the_one_before_it_has_left() -> None:
    kernel = Kernel()
    kernel.cache.withdraw()  # it stops
    before = kernel.generation
    after = VerdictCache(cast("LoadedPrograms", kernel.programs))
    after.begin(3, by_cgroup=False)

    assert kernel.generation == before + 1


def test_the_cgroup_belongs_to_the_program_where_rules_look_at_it() -> None:
    kernel = Kernel()
    kernel.cache.begin(3, by_cgroup=True)
    kernel.cache.add(verdict())

    (key,) = kernel.programs.verdicts.keys()
    assert layout.VERDICT_KEY.unpack(key)[3] == 77


@pytest.mark.parametrize(
    "image",
    [
        KernelImage(flags=ImageFlag.READY | ImageFlag.EXE_KNOWN | ImageFlag.EXE_DELETED),
        KernelImage(flags=ImageFlag.READY | ImageFlag.EXE_KNOWN | ImageFlag.TORN),
        KernelImage(flags=ImageFlag.READY | ImageFlag.EXE_KNOWN | ImageFlag.EXE_TRUNCATED),
        KernelImage(flags=ImageFlag.READY),
        KernelImage(mntns=0),
    ],
)
def test_of_a_program_that_is_not_wholly_known_nothing_is_repeated(image: KernelImage) -> None:
    kernel = Kernel(image)
    kernel.cache.add(verdict())

    assert kernel.verdicts() == []


@pytest.mark.parametrize(
    "other",
    [
        replace(curl(), pid=4_712),
        replace(curl(), start_time_ns=6),
        replace(curl(), uid=0),
        replace(curl(), gid=0),
        replace(curl(), netns=1),
    ],
)
def test_a_socket_that_is_another_processs_by_now_is_not_written_down(other: Process) -> None:
    kernel = Kernel()
    kernel.cache.add(verdict()._replace(process=other))
    kernel.cache.add(PassFlow(datagrams(), COOKIE, other, None))

    assert kernel.verdicts() == []
    assert list(kernel.programs.passes.keys()) == []


def test_what_runs_as_we_do_is_never_refused_without_being_looked_at() -> None:
    own = Path("/proc/self/exe").stat()
    device = (own.st_dev >> 8 & 0xFFF) << 20 | own.st_dev & 0xFF
    image = KernelImage(exe_inode=own.st_ino, exe_device=device)
    uid = Path("/proc/self").stat().st_uid
    kernel = Kernel(image, KernelOwner(image_key(4_711), uid=uid, gid=1_000))
    fetcher = replace(curl(), uid=uid)
    kernel.cache.add(verdict(REJECTED)._replace(process=fetcher))
    refused = kernel.verdicts()
    kernel.cache.add(verdict()._replace(process=fetcher))

    assert refused == []
    assert kernel.verdicts() == [(kernel.generation, 1)]


def test_an_accepted_flow_passes_for_the_process_that_has_its_socket() -> None:
    kernel = Kernel()
    kernel.cache.add(PassFlow(datagrams(), COOKIE, curl(), 99))

    ((key, raw),) = next(kernel.programs.passes.batches(9))
    cookie, tuple_ = layout.PASS_KEY.unpack(key)
    assert (cookie, tuple_) == (COOKIE, layout.flow_key(0, datagrams()))
    assert layout.PASS.unpack(raw) == (image_key(4_711), 99, kernel.generation, 1)


def test_what_is_repeated_for_others_counts_for_the_flow_itself_first_of_all() -> None:
    kernel = Kernel()
    kernel.cache.add(verdict(REJECTED))

    ((key, raw),) = next(kernel.programs.passes.batches(9))
    assert layout.PASS_KEY.unpack(key) == (COOKIE, layout.flow_key(0, flow()))
    assert layout.PASS.unpack(raw)[2:] == (kernel.generation, 2)


def test_a_flow_that_was_answered_for_from_its_first_packet_on_has_none_in_the_queue() -> None:
    kernel = Kernel()
    limit = TimeLimit(0, 60, 60)
    store = OwnerStore(cast("LoadedPrograms", kernel.programs), lambda _: None, limit)
    key = layout.PASS_KEY.pack(COOKIE, layout.flow_key(0, flow()))

    def passes(action: int, generation: int) -> bool:
        raw = layout.PASS.pack(image_key(4_711), 2**63 - 1, generation, action)
        kernel.programs.passes.put(key, raw)
        return store.was_answered(COOKIE, flow())

    assert not store.was_answered(COOKIE, flow())
    assert passes(1 | layout.PASS_FIRST, kernel.generation)
    assert not passes(1, kernel.generation)  # user space has let it pass: others may be queued
    assert not passes(1 | layout.PASS_FIRST, kernel.generation + 1)


def test_what_the_kernel_tells_is_read_with_the_decision_that_it_repeats() -> None:
    kernel = Kernel()
    kernel.cache.add(verdict(REJECTED))
    heard = kernel.tell(kernel.generation, 0, 2)

    assert heard is not None
    assert (heard.decision, heard.rules) == (REJECTED, 3)
    assert heard.ifindex == 2
    assert heard.flow == flow(sport=50_000)
    owner = heard.owner
    assert (owner.image_key, owner.opener) == (image_key(4_711), image_key(4_711))
    assert (owner.tid, owner.uid, owner.gid, owner.netns) == (4_712, 1_000, 1_000, NETNS)
    assert owner.comm == b"curl".ljust(16, b"\0")
    assert owner.flags & OwnerFlag.USED


@pytest.mark.parametrize(("changes", "rule"), [(1, "web"), (20, "web"), (100, None)])
def test_the_decision_is_known_though_the_rules_have_changed_a_few_times_meanwhile(
    changes: int, rule: str | None
) -> None:
    kernel = Kernel()
    kernel.cache.add(verdict())
    generation = kernel.generation
    for rules in range(changes):
        kernel.cache.begin(4 + rules, by_cgroup=False)

    heard = kernel.tell(generation, 0, 1)
    assert heard is not None
    assert (heard.decision.verdict, heard.decision.rule) == (Verdict.ACCEPT, rule)
    assert heard.rules == (3 if rule else 0)


def test_of_a_daemon_before_what_became_of_a_flow_is_known_and_not_by_which_rule() -> None:
    kernel = Kernel()

    heard = kernel.tell(4_000, 17, 3)
    assert heard is not None
    decision = heard.decision
    assert heard.rules == 0
    assert (decision.verdict, decision.action, decision.rule) == (Verdict.DROP, Action.DENY, None)
