"""The quick way to an owner finds what the long way does, where it finds one at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import flow
from fakes import NETNS_COOKIE, FakeMachine
from nfsnitch.adapters.attribution import Attributor
from nfsnitch.adapters.bpf import layout
from nfsnitch.core.attach import AttachMode
from nfsnitch.core.flow import Flow
from nfsnitch.core.owner import Finding, Kernel, Process

MS = 1_000_000
FLOWS = [flow(sport=port) for port in (1_000, 2_000)]
times_ns = st.integers(0, 5).map(lambda each: each * MS)
cookies = st.sampled_from([1, 2, 3, 4, layout.COOKIE_KERNEL, layout.COOKIE_UNNUMBERED])
sockets = st.dictionaries(
    st.integers(1, 4), st.tuples(times_ns, st.sampled_from([0, 0, 2 * MS, 5 * MS])), min_size=2
)
claims = st.tuples(cookies, st.lists(cookies, max_size=4), times_ns, times_ns)
plots = st.lists(st.tuples(st.sampled_from(FLOWS), st.none() | claims), min_size=2, max_size=6)


def claim(machine: FakeMachine, of: Flow, made: tuple[int, list[int], int, int]) -> None:
    cookie, previous, since_ns, previous_ns = made
    places = [*previous, *[0] * (4 - len(previous))]
    raw = layout.FLOW_VALUE.pack(cookie, since_ns, since_ns, previous_ns, *places)
    machine.programs.flows.put(layout.flow_key(NETNS_COOKIE, of), raw)


@given(st.sampled_from([*AttachMode]), sockets, plots, times_ns)
def test_the_quick_way_finds_what_the_long_way_does(
    mode: AttachMode,
    known: dict[int, tuple[int, int]],
    plot: list[tuple[Flow, tuple[int, list[int], int, int] | None]],
    queue_empty_ns: int,
) -> None:
    found: list[list[Finding]] = []
    for is_quick in (True, False):
        machine = FakeMachine(queue_empty_ns=queue_empty_ns)
        machine.programs.mode = mode
        for cookie, (created_ns, released_ns) in known.items():
            machine.socket(cookie, created_ns=created_ns, released_ns=released_ns)
        attributor, findings = machine.attributor(), list[Finding]()
        with pytest.MonkeyPatch.context() as patch:
            if not is_quick:
                patch.setattr(Attributor, "_of_only_one", lambda _attributor, _flow: None)
            for of, made in plot:
                if made is not None:
                    claim(machine, of, made)
                findings.append(attributor.find(of))
        found.append(findings)

    assert found[0] == found[1]


@pytest.mark.parametrize("mode", [*AttachMode])
def test_those_of_whom_nothing_is_kept_any_more_take_no_time(
    mode: AttachMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = FakeMachine()
    machine.programs.mode = mode
    machine.socket(5)
    claim(machine, FLOWS[0], (5, [3, 4], 2 * MS, MS))
    for way in ("_by_claims", "_by_queue_probe"):
        monkeypatch.setattr(Attributor, way, lambda _attributor, _flow: pytest.fail("it is long"))

    assert machine.attributor().find(FLOWS[0]).sock_cookie == 5


def test_the_kernel_that_had_the_tuple_before_is_not_forgotten() -> None:
    machine = FakeMachine()
    machine.programs.mode = AttachMode.KPROBE
    machine.socket(5, created_ns=2 * MS)
    claim(machine, FLOWS[0], (5, [layout.COOKIE_KERNEL], 2 * MS, 2 * MS))

    found = machine.attributor().find(FLOWS[0])

    assert {type(each) for each in (found.owner, *found.rivals)} == {Kernel, Process}
