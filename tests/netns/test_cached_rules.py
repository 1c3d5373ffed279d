"""The rules that ask eBPF programs about packets, as the kernel takes them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from builders import own_netns
from nfsnitch.adapters import cgroups
from nfsnitch.adapters.bpf.core_loader import LoadedPrograms
from nfsnitch.adapters.bpf.modes import attached
from nfsnitch.adapters.bpf.verdict_cache import PROGRAMS
from nfsnitch.adapters.cached_rules import CachedRules, CachedRulesError, Outcome
from nfsnitch.adapters.enforcement import Enforcement
from nfsnitch.adapters.nft import CACHED
from nfsnitch.core.attach import AttachMode
from nfsnitch.resources import bpf_object

pytestmark = [pytest.mark.root, pytest.mark.netns, pytest.mark.bpf]


@pytest.fixture(name="programs", scope="module")
def fixture_programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoadedPrograms]:
    """Yield programs that watch a cgroup with nobody in it."""
    cgroup = cgroups.v2_root() / tmp_path_factory.mktemp("cached").name
    cgroup.mkdir()
    try:
        with attached(bpf_object(), cgroup, AttachMode.CGROUP) as programs:
            yield programs
    finally:
        cgroup.rmdir()


@pytest.fixture(autouse=True)
def _apart() -> Iterator[None]:
    with own_netns():
        yield


def those_that_answer(programs: LoadedPrograms) -> dict[Outcome, int]:
    return {outcome: programs.filters[name] for name, outcome in PROGRAMS.items()}


def rules_in(chain: str) -> list[list[str]]:
    """Return the kinds of expressions of each rule in a chain of our table, as nft lists them."""
    argv = ["nft", "--json", "list", "chain", "inet", "nfsnitch", chain]
    listed = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)["nftables"]
    return [
        [kind for part in each["rule"]["expr"] for kind in part]
        for each in listed
        if "rule" in each
    ]


ASKING = [["xt", "counter", "accept"], ["xt", "counter", "goto"], ["xt", "counter", "drop"]]


def test_the_rules_are_in_force_with_the_others_and_go_with_them(programs: LoadedPrograms) -> None:
    with closing(Enforcement(7)) as enforcement:
        enforcement.ask(those_that_answer(programs))
        assert enforcement.cache_problem is None
        enforcement.install()
        first = rules_in(CACHED)
        enforcement.install()  # in the place of those that are there
        again = rules_in(CACHED)
        enforcement.remove()
        is_gone = not enforcement.is_installed()

    assert first == again == ASKING
    assert is_gone


def test_without_programs_nothing_is_asked_and_all_is_queued(programs: LoadedPrograms) -> None:
    with closing(Enforcement(7)) as enforcement:
        enforcement.ask(those_that_answer(programs))
        enforcement.install()
        enforcement.ask({}, "nobody wants it")
        enforcement.install()
        rules = rules_in(CACHED)

    assert rules == []
    assert enforcement.cache_problem == "nobody wants it"


def test_whoever_relies_on_it_hears_from_when_to_when_the_programs_see_each_packet(
    programs: LoadedPrograms,
) -> None:
    told: list[tuple[bool, bool]] = []

    def hear(*, sees: bool) -> None:
        told.append((sees, enforcement.is_installed() and rules_in(CACHED) == ASKING))

    with closing(Enforcement(7)) as enforcement:
        enforcement.ask(those_that_answer(programs), None, hear)
        enforcement.install()
        enforcement.install()
        enforcement.remove()

    # Before they are not asked any more, and after they are.
    assert told == [(False, False), (True, True), (False, True), (True, True), (False, True)]


def test_programs_that_the_kernel_refuses_are_not_said_to_see_packets(tmp_path: Path) -> None:
    told: list[bool] = []

    def hear(*, sees: bool) -> None:
        told.append(sees)

    wrong = (tmp_path / "no-program").open("w")
    with closing(wrong), closing(Enforcement(7)) as enforcement:
        enforcement.ask({Outcome.ACCEPT: wrong.fileno()}, None, hear)
        enforcement.install()

    assert told == [False]
    assert "could not be put in force" in str(enforcement.cache_problem)


def test_a_program_of_another_kind_is_refused_and_the_rules_before_stay(
    programs: LoadedPrograms, tmp_path: Path
) -> None:
    wrong = (tmp_path / "no-program").open("w")
    with closing(wrong), closing(Enforcement(7)) as enforcement:
        enforcement.ask(those_that_answer(programs))
        enforcement.install()
        rules = CachedRules("nfsnitch", CACHED, CACHED, "refuse")
        with pytest.raises(CachedRulesError, match="could not be put in force"):
            rules.install({Outcome.ACCEPT: wrong.fileno()})

        assert rules_in(CACHED) == ASKING
