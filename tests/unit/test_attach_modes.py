"""The choice of the attach mode: what a refusal says, and what is tried next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest

from fakes import FakeMap, FakePrograms
from nfsnitch.adapters.bpf import modes, sights
from nfsnitch.adapters.bpf.core_loader import Attachment, LoadedPrograms
from nfsnitch.adapters.bpf.layout import COOKIE, OWNER
from nfsnitch.adapters.bpf.libbpf import BpfError, Libbpf
from nfsnitch.adapters.bpf.libc_places import LibcError
from nfsnitch.adapters.bpf.map import BpfMap
from nfsnitch.adapters.bpf.modes import attached, available_modes
from nfsnitch.core.attach import BEST_FIRST, AttachMode

OBJECT = Path("nfsnitch.bpf.o")
EVERY_HOOK_RUNS, NO_HOOK_RUNS = True, False


class Kernel:
    """A kernel that refuses some programs, and may attach hooks without running them."""

    def __init__(self) -> None:
        self.refuses: set[str] = set()
        self.hooks_run = EVERY_HOOK_RUNS
        self.loaded: list[set[str]] = []
        self.open = 0

    @contextmanager
    def load(
        self,
        _object_file: Path,
        mode: AttachMode,
        attachments: Sequence[Attachment],
        _cgroup: Path | None,
    ) -> Iterator[LoadedPrograms]:
        names = {each.program for each in attachments}
        self.loaded.append(names)
        if names & self.refuses:
            raise BpfError("loading the eBPF programs: no\n    libbpf: the log")
        programs = LoadedPrograms(
            owners=self._map(),
            images=self._map(),
            flows=self._map(),
            crossings=self._map(),
            ports=self._map(),
            raw_sockets=self._map(),
            counters=self._map(),
            opening_config=self._map(),
            opening_rules=self._map(),
            opening_numbers=self._map(),
            opening_texts=self._map(),
            verdict_config=self._map(),
            verdicts=self._map(),
            passes=self._map(),
            library=cast("Libbpf", None),
            releases_fd=-1,
            openings_fd=-1,
            names_fd=-1,
            cached_fd=-1,
            mode=mode,
            why="",
        )
        self.open += 1
        try:
            yield programs
        finally:
            self.open -= 1

    def _map(self) -> BpfMap:
        return cast("BpfMap", _EveryKey(self))


class _EveryKey(FakeMap):
    """A map that has an owner under every key, if the kernel runs the hooks."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(COOKIE.size, OWNER.size)
        self._kernel = kernel

    def get(self, _key: bytes) -> bytes | None:
        return bytes(OWNER.size) if self._kernel.hooks_run else None


@pytest.fixture(name="kernel")
def fixture_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Kernel:
    kernel = Kernel()
    (tmp_path / "kprobe").touch()
    security_modules = tmp_path / "lsm"
    security_modules.write_text("capability,bpf", "ascii")
    monkeypatch.setattr(modes, "loaded", kernel.load)
    monkeypatch.setattr(sights, "places", dict.fromkeys)
    monkeypatch.setattr(modes, "_LSM_LIST", security_modules)
    monkeypatch.setattr(modes, "_PMUS", tmp_path)
    monkeypatch.setattr(modes, "_KPROBE_EVENTS", ())
    monkeypatch.setattr(modes, "root_cgroup", lambda: tmp_path)
    return kernel


def lsm_programs() -> set[str]:
    return {"nfsnitch_lsm_create"}


def test_where_everything_works_auto_takes_lsm(kernel: Kernel) -> None:
    with attached(OBJECT) as programs:
        assert (programs.mode, programs.why) == (AttachMode.LSM, "the best there is")
        assert kernel.open == 1

    assert kernel.open == 0


def test_where_lsm_is_refused_auto_takes_kprobes_and_says_why(kernel: Kernel) -> None:
    kernel.refuses = lsm_programs()

    with attached(OBJECT) as programs:
        assert programs.mode is AttachMode.KPROBE
        assert programs.why.startswith("lsm cannot be had (loading the eBPF programs: no")
        assert "libbpf" not in programs.why


def test_hooks_that_are_attached_and_never_run_are_no_mode(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.hooks_run = NO_HOOK_RUNS
    monkeypatch.setattr(modes, "_LSM_LIST", Path("/nonexistent"))

    with attached(OBJECT) as programs:
        assert programs.mode is AttachMode.CGROUP
        assert programs.why.count("but the kernel does not run them") == 2
        assert kernel.open == 1


def test_a_security_module_that_is_not_active_is_named_with_what_to_boot_with(
    kernel: Kernel, tmp_path: Path
) -> None:
    (tmp_path / "lsm").write_text("capability,yama\n", "ascii")

    refusals = available_modes(OBJECT)

    assert refusals[AttachMode.LSM] == (
        "bpf is not among the active security modules (capability,yama); "
        "boot with lsm=capability,yama,bpf"
    )
    assert not any(lsm_programs() & names for names in kernel.loaded)


def test_a_kernel_without_kprobes_is_told_so(kernel: Kernel, tmp_path: Path) -> None:
    (tmp_path / "kprobe").unlink()

    assert available_modes(OBJECT)[AttachMode.KPROBE] == (
        "the kernel has no kprobes (CONFIG_KPROBE_EVENTS)"
    )
    assert kernel.open == 0


def test_where_fentry_is_refused_lsm_mode_uses_kprobes_on_the_queue(kernel: Kernel) -> None:
    kernel.refuses = {"nfsnitch_fentry_queue"}

    with attached(OBJECT, None, AttachMode.LSM) as programs:
        assert programs.mode is AttachMode.LSM
        assert "nfsnitch_kprobe_queue" in kernel.loaded[-1]
        assert lsm_programs() <= kernel.loaded[-1]


def test_what_can_only_be_attached_to_kprobes_is_not_loaded_where_there_are_none(
    kernel: Kernel, tmp_path: Path
) -> None:
    kernel.refuses = {"nfsnitch_fentry_queue"}
    (tmp_path / "kprobe").unlink()

    with attached(OBJECT, None, AttachMode.AUTO) as programs:
        assert programs.mode is AttachMode.CGROUP
    assert not any("nfsnitch_kprobe_queue" in names for names in kernel.loaded)


def test_a_mode_that_was_asked_for_is_taken_though_a_better_one_is_there(kernel: Kernel) -> None:
    with attached(OBJECT, None, AttachMode.CGROUP) as programs:
        assert (programs.mode, programs.why) == (AttachMode.CGROUP, "asked for")
    assert len(kernel.loaded) == 1


def test_a_mode_that_was_asked_for_and_is_refused_is_an_error_with_reason_and_way_out(
    kernel: Kernel,
) -> None:
    kernel.refuses = lsm_programs()

    with (
        pytest.raises(BpfError, match=r"(?s)mode lsm .*: no.*the log.*Use --attach auto"),
        attached(OBJECT, None, AttachMode.LSM),
    ):
        pass

    assert kernel.open == 0


def test_where_nothing_works_every_refusal_is_told(kernel: Kernel) -> None:
    kernel.refuses = {*lsm_programs(), "nfsnitch_sock_create"}

    with (
        pytest.raises(BpfError, match=r"(?s)no way.*lsm: .*kprobe: .*cgroup: "),
        attached(OBJECT),
    ):
        pass


def test_a_directory_that_is_no_cgroup_is_an_error_in_every_mode(
    kernel: Kernel, tmp_path: Path
) -> None:
    for mode in AttachMode:
        with (
            pytest.raises(BpfError, match="is not the directory of a cgroup v2"),
            attached(OBJECT, tmp_path, mode),
        ):
            pass

    assert kernel.loaded == []


def test_every_mode_is_tried_best_first(kernel: Kernel) -> None:
    assert list(available_modes(OBJECT)) == list(BEST_FIRST)
    assert set(available_modes(OBJECT).values()) == {None}
    assert kernel.open == 0


DNS = {each.program for each in sights.DNS}
LIBC = {each.program for each in sights.LIBC}


def test_names_are_seen_in_every_mode(kernel: Kernel) -> None:
    for mode in BEST_FIRST:
        with attached(OBJECT, None, mode) as programs:
            assert (programs.dns_problem, programs.libc_problem) == (None, None)
        assert kernel.loaded[-1] >= DNS | LIBC


def test_a_mode_does_without_names_where_these_are_refused(kernel: Kernel) -> None:
    kernel.refuses = {"nfsnitch_getaddrinfo"}
    with attached(OBJECT) as programs:
        assert (programs.mode, programs.dns_problem) == (AttachMode.LSM, None)
        assert programs.libc_problem == "loading the eBPF programs: no"
        assert kernel.loaded[-1] >= DNS
    kernel.refuses = {"nfsnitch_names_in"}
    with attached(OBJECT) as programs:
        assert programs.mode is AttachMode.LSM
        assert {programs.dns_problem, programs.libc_problem} == {"loading the eBPF programs: no"}
        assert not kernel.loaded[-1] & (DNS | LIBC)


def test_where_there_is_no_library_to_be_watched_that_is_not_tried(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(_functions: object) -> None:
        raise LibcError("the kernel has no uprobes")

    monkeypatch.setattr(sights, "places", nowhere)
    with attached(OBJECT) as programs:
        assert (programs.dns_problem, programs.libc_problem) == (None, "the kernel has no uprobes")
    assert [names & LIBC for names in kernel.loaded] == [set()]


def test_what_pinned_programs_do_not_see_is_told_by_the_links_that_they_lack() -> None:
    dns, libc = (sights.Sight(each, sights.Problems()).links for each in (sights.DNS, sights.LIBC))

    assert sights.problems_of({*dns, *libc, "others"}) == (None, None)
    for links, lacking in ((dns, (False, True)), (libc, (True, False)), (set(), (True, True))):
        assert tuple(each is not None for each in sights.problems_of(set(links))) == lacking


def test_the_fake_programs_have_the_real_ones_fields() -> None:
    others = {"library", "releases_fd", "openings_fd", "names_fd", "cached_fd", "links", "why"}
    others |= {"dns_problem", "libc_problem"}
    fields = set(LoadedPrograms.__dataclass_fields__) - others
    assert fields <= set(vars(FakePrograms()))
