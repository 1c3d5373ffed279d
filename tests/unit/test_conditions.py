"""Conditions: what they match, what they never match, and what `not` makes of them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import case
from nfsnitch.core.conditions import (
    OwnerCondition,
    OwnerKind,
    ParentCondition,
    ValueCondition,
    read_args,
    read_daddr,
    read_dport,
    read_exe,
    read_family,
    read_proto,
    read_uid,
)
from nfsnitch.core.flow import NO_PORTS, Family, Flow, packed_address
from nfsnitch.core.owner import Ancestor, Executable, Kernel, Owner, Process
from nfsnitch.core.pattern import paths, regexes
from nfsnitch.core.rule import Condition
from nfsnitch.core.unknown import Unknown

FLOW = Flow(Family.IPV4, 6, packed_address("192.0.2.2"), packed_address("192.0.2.1"), 40000, 443)
MYSTERY = Unknown("not known in this test")
INIT = Ancestor(1, 0, Executable("/sbin/init", 1, 1))
SHELL = Ancestor(7, 0, Executable("/bin/bash", 1, 2))
HIDDEN = Ancestor(5, 0, Executable(MYSTERY, MYSTERY, MYSTERY))
CURL = Process(
    pid=9,
    tid=9,
    start_time_ns=1,
    uid=1000,
    gid=1000,
    exe=Executable("/usr/bin/curl", 1, 3),
    args=("curl", "-k", "https://example.org"),
    comm="curl",
    parents=(SHELL, INIT),
    cgroup_id=1,
    cgroup="/",
    netns=1,
)
OWNERS: tuple[Owner, ...] = (CURL, Kernel("wireguard"), MYSTERY)

PROCESS_FIELDS: tuple[Condition, ...] = tuple(
    condition
    for negated in (False, True)
    for condition in (
        ValueCondition("exe", read_exe, paths(["/**"]), negated),
        ValueCondition("args", read_args, regexes([".*"]), negated),
        ValueCondition("uid", read_uid, frozenset(range(2000)), negated),
        ParentCondition("parent", paths(["/**"]), negated),
        ParentCondition("parent", paths(["/x"]), negated),
    )
)


@pytest.mark.parametrize("owner", OWNERS[1:], ids=lambda owner: type(owner).__name__)
@pytest.mark.parametrize("condition", PROCESS_FIELDS, ids=lambda condition: condition.field)
def test_a_process_field_matches_no_owner_that_is_no_process(
    condition: Condition, owner: Owner
) -> None:
    assert not condition.matches(case(FLOW, owner))


@pytest.mark.parametrize("owner", OWNERS, ids=lambda owner: type(owner).__name__)
def test_a_flow_field_matches_whatever_the_owner(owner: Owner) -> None:
    assert ValueCondition("proto", read_proto, frozenset({6})).matches(case(FLOW, owner))
    assert ValueCondition("daddr", read_daddr, frozenset({FLOW.daddr})).matches(case(FLOW, owner))
    assert ValueCondition("family", read_family, frozenset({Family.IPV4})).matches(
        case(FLOW, owner)
    )
    assert ValueCondition("dport", read_dport, frozenset({443})).matches(case(FLOW, owner))


@pytest.mark.parametrize("negated", [False, True])
def test_a_value_that_is_not_known_is_not_matched(negated: bool) -> None:  # noqa: FBT001
    nameless = replace(CURL, exe=Executable(MYSTERY, MYSTERY, MYSTERY), args=MYSTERY)
    ping = FLOW._replace(proto=1, dport=NO_PORTS)
    everything = paths(["/**"])
    assert not ValueCondition("exe", read_exe, everything, negated).matches(case(FLOW, nameless))
    assert not ValueCondition("args", read_args, regexes(["."]), negated).matches(
        case(FLOW, nameless)
    )
    assert not ValueCondition("dport", read_dport, frozenset({80}), negated).matches(
        case(ping, CURL)
    )


@given(st.integers(0, 9), st.frozensets(st.integers(0, 9)))
def test_not_is_the_complement_on_known_values(value: int, wanted: frozenset[int]) -> None:
    flow = FLOW._replace(dport=value)
    plain = ValueCondition("dport", read_dport, wanted)
    negated = ValueCondition("dport", read_dport, wanted, negated=True)
    assert plain.matches(case(flow, CURL)) is (value in wanted)
    assert negated.matches(case(flow, CURL)) is (value not in wanted)


@given(st.lists(st.sampled_from(["/a", "/b", "/c"])), st.sets(st.sampled_from(["/a", "/b", "/x"])))
def test_not_parent_is_the_complement_on_a_chain_that_is_known_wholly(
    chain: list[str], wanted: set[str]
) -> None:
    above = tuple(Ancestor(50, 0, Executable(path, 1, 1)) for path in chain)
    owner = replace(CURL, parents=(*above, INIT))
    found = not wanted.isdisjoint(chain)
    assert ParentCondition("parent", paths(wanted)).matches(case(FLOW, owner)) is found
    assert (
        ParentCondition("parent", paths(wanted), negated=True).matches(case(FLOW, owner))
        is not found
    )


@pytest.mark.parametrize(
    "parents", [(), (SHELL,), (SHELL, HIDDEN, INIT)], ids=["none", "cut off", "with a gap"]
)
def test_not_parent_does_not_match_where_the_chain_is_not_known_wholly(
    parents: tuple[Ancestor, ...],
) -> None:
    owner = replace(CURL, parents=parents)
    assert not ParentCondition("parent", paths(["/x"]), negated=True).matches(case(FLOW, owner))


def test_a_parent_beyond_a_gap_is_found_all_the_same() -> None:
    owner = replace(CURL, parents=(HIDDEN, SHELL))
    assert ParentCondition("parent", paths(["/bin/bash"])).matches(case(FLOW, owner))


def test_the_first_process_has_surely_no_parent_of_any_name() -> None:
    owner = replace(CURL, pid=1, parents=())
    assert ParentCondition("parent", paths(["/x"]), negated=True).matches(case(FLOW, owner))


def test_arguments_are_joined_by_one_space_with_argv_0() -> None:
    assert read_args(case(FLOW, CURL)) == "curl -k https://example.org"


@pytest.mark.parametrize(
    ("wanted", "negated", "matched"),
    [
        ({OwnerKind.UNKNOWN}, False, [False, False, True]),
        ({OwnerKind.KERNEL}, False, [False, True, False]),
        ({OwnerKind.UNKNOWN, OwnerKind.KERNEL}, False, [False, True, True]),
        ({OwnerKind.UNKNOWN}, True, [True, True, False]),
        ({OwnerKind.KERNEL}, True, [True, False, False]),
        ({OwnerKind.UNKNOWN, OwnerKind.KERNEL}, True, [True, False, False]),
    ],
)
def test_owner_matches_the_kinds_and_not_owner_no_unknown_one(
    wanted: set[OwnerKind],
    negated: bool,  # noqa: FBT001
    matched: list[bool],
) -> None:
    condition = OwnerCondition("owner", wanted, negated)
    assert [condition.matches(case(FLOW, owner)) for owner in OWNERS] == matched
