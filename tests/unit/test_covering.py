"""Which conditions leave nothing for others: sure of it, or silent."""

from collections.abc import Iterable

from hypothesis import assume, given
from hypothesis import strategies as st

from builders import case, flow
from nfsnitch.core.case import Case
from nfsnitch.core.conditions import ParentCondition, ValueCondition, read_dport
from nfsnitch.core.covering import covers, disjoint, includes, never_both, never_holds
from nfsnitch.core.flow import Family
from nfsnitch.core.pattern import paths
from nfsnitch.core.ranges import AddressRange, PortRange, Ports, addresses, ports
from nfsnitch.core.rule import Condition

_FEW = range(12)
"""Enough ports to try every one."""
_ranges = st.lists(
    st.tuples(st.sampled_from(_FEW), st.sampled_from(_FEW)).map(sorted), min_size=1, max_size=4
)
_conditions = st.builds(
    lambda ranges, negated: ValueCondition("dport", read_dport, ports_of(ranges), negated),
    _ranges,
    st.booleans(),
)
_globs = st.lists(
    st.sampled_from(["/**", "/a/**", "/a/*", "/a/b", "/a/b*", "/a/**/b", "/[ab]/b", "/?/b", "**"]),
    min_size=1,
    max_size=3,
).map(paths)
_SOME_PATHS = ["/a", "/a/b", "/a/bb", "/a/b/b", "/a/c", "/b/b", "/c", "/a/b/c/b"]


def ports_of(ranges: Iterable[list[int]]) -> Ports:
    return ports(PortRange(first, last) for first, last in ranges)


@given(_conditions, _conditions)
def test_what_covers_another_holds_wherever_that_holds(
    wider: ValueCondition[int], narrower: ValueCondition[int]
) -> None:
    assume(covers(wider, narrower))
    for port in _FEW:
        asked = case(flow(dport=port))
        assert wider.matches(asked) or not narrower.matches(asked)


@given(_conditions, _conditions)
def test_of_ports_it_is_told_wherever_it_is_so(
    one: ValueCondition[int], other: ValueCondition[int]
) -> None:
    matched = [{p for p in _FEW if each.matches(case(flow(dport=p)))} for each in (one, other)]
    if not one.negated and not other.negated:
        assert covers(one, other) is (matched[0] >= matched[1])
        assert never_both(one, other) is matched[0].isdisjoint(matched[1])
    if never_both(one, other):
        assert not matched[0] & matched[1]


@given(_globs, _globs)
def test_sets_of_paths_are_included_or_disjoint_only_if_they_surely_are(
    one: frozenset[str], other: frozenset[str]
) -> None:
    for path in _SOME_PATHS:
        if includes(one, other):
            assert path in one or path not in other
        if disjoint(one, other):
            assert not (path in one and path in other)


def test_addresses_are_compared_within_their_family() -> None:
    low4 = addresses([AddressRange(Family.IPV4, 0, 2**31)])
    all6 = addresses([AddressRange(Family.IPV6, 0, 2**128 - 1)])
    both = addresses([AddressRange(Family.IPV4, 0, 2**32 - 1), AddressRange(Family.IPV6, 0, 5)])
    assert includes(both, low4)
    assert not includes(both, all6)
    assert not includes(all6, low4)
    assert disjoint(low4, all6)
    assert not disjoint(both, all6)


class _Newcomer:
    """A condition of a kind that nobody has heard of."""

    field = "newcomer"

    def matches(self, case: Case) -> bool:
        del case
        return True


class _Comparable(_Newcomer):
    """Another one, which can compare itself."""

    def covers(self, other: Condition) -> bool:
        return isinstance(other, _Newcomer)


def test_a_condition_of_a_new_kind_covers_itself_and_else_what_it_says() -> None:
    newcomer, comparable = _Newcomer(), _Comparable()
    assert covers(newcomer, newcomer)
    assert not covers(newcomer, _Newcomer())
    assert covers(comparable, newcomer)
    assert not covers(newcomer, comparable)
    assert not never_holds(newcomer)
    assert not never_both(newcomer, comparable)


def test_a_parent_is_not_told_from_another_parent_s_absence() -> None:
    one = ParentCondition("parent", paths(["/a"]))
    assert not covers(ParentCondition("parent", paths(["/b"]), negated=True), one)
