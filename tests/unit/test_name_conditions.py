"""Conditions on names and lists: what they match, and when it cannot be told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import case, flow
from nfsnitch.core.case import Case
from nfsnitch.core.flow import packed_address
from nfsnitch.core.listing import Entry, ListDefinition, NamedList
from nfsnitch.core.name import Name, Names, NameSource
from nfsnitch.core.name_conditions import HostCondition, HostNames, ListCondition

LABELS = st.sampled_from(["a", "b", "www", "example", "org", "net"])
NAMES = st.lists(LABELS, min_size=1, max_size=5).map(".".join)
WANTED = st.builds(HostNames, st.frozensets(NAMES, max_size=3), st.frozensets(NAMES, max_size=3))


class FixedList:
    """A list with a few entries, each on a line of its own."""

    def __init__(self, name: str, *entries: str) -> None:
        self._name, self._entries = name, entries

    @property
    def names(self) -> int:
        """How many domains it has."""
        return sum(not each[0].isdigit() for each in self._entries)

    @property
    def networks(self) -> int:
        """How many addresses it has."""
        return len(self._entries) - self.names

    def find_name(self, name: str) -> Entry | None:
        """Return the entry for a name or a domain above it."""
        return next((self._entry(each) for each in self._entries if _is_in(name, each)), None)

    def has_name(self, name: str) -> bool:
        """Whether a name is listed."""
        return self.find_name(name) is not None

    def has_address(self, packed: bytes) -> bool:
        """Whether an address is listed."""
        return self.find_address(packed) is not None

    def find_address(self, packed: bytes) -> Entry | None:
        """Return the entry of an address."""
        addresses = [each for each in self._entries if each[0].isdigit()]
        return next(
            (self._entry(each) for each in addresses if packed == packed_address(each)), None
        )

    def _entry(self, text: str) -> Entry:
        return Entry(self._name, self._entries.index(text) + 1, text)


def _is_in(name: str, domain: str) -> bool:
    return name == domain or name.endswith(f".{domain}")


def a_list(*entries: str) -> NamedList:
    made = NamedList(ListDefinition("ads", "/ads.txt"))
    made.content = FixedList("ads", *entries)
    return made


def known_as(*texts: str, daddr: str = "192.0.2.1", aliases: tuple[str, ...] = ()) -> Case:
    names = tuple(
        Name(text, NameSource.DNS, own=True, known_ns=0, aliases=aliases) for text in texts
    )
    return case(flow(daddr))._replace(names=Names(names))


def host(*wanted: str, negated: bool = False) -> HostCondition:
    below = frozenset(each[2:] for each in wanted if each.startswith("*."))
    exact = frozenset(each for each in wanted if not each.startswith("*."))
    return HostCondition("host", HostNames(exact, below), negated)


@pytest.mark.parametrize(
    ("wanted", "name", "holds"),
    [
        ("example.org", "example.org", True),
        ("example.org", "www.example.org", False),
        ("*.example.org", "www.example.org", True),
        ("*.example.org", "a.b.example.org", True),
        ("*.example.org", "example.org", False),
        ("*.example.org", "badexample.org", False),
        ("*.org", "example.org", True),
    ],
)
def test_a_name_stands_for_itself_and_an_asterisk_for_all_below(
    wanted: str, name: str, *, holds: bool
) -> None:
    assert host(wanted).matches(known_as(name)) is holds
    assert host(wanted, negated=True).matches(known_as(name)) is not holds


@pytest.mark.parametrize("negated", [False, True])
def test_without_a_name_it_cannot_be_told(*, negated: bool) -> None:
    condition = host("example.org", negated=negated)
    assert condition.holds(known_as()) is None
    assert not condition.matches(known_as())


@pytest.mark.parametrize("negated", [False, True])
def test_of_several_names_all_must_agree(*, negated: bool) -> None:
    condition = host("*.example.org", negated=negated)
    assert condition.holds(known_as("a.example.org", "b.example.org")) is not negated
    assert condition.holds(known_as("a.test", "b.test")) is negated
    assert condition.holds(known_as("a.example.org", "b.test")) is None


def test_a_host_is_not_what_its_name_is_an_alias_of() -> None:
    assert not host("cdn.example").matches(known_as("example.org", aliases=("cdn.example",)))


@given(WANTED, WANTED, NAMES)
def test_what_covers_a_condition_holds_wherever_that_does(
    wider: HostNames, narrower: HostNames, name: str
) -> None:
    one, other = HostCondition("host", wider), HostCondition("host", narrower)
    if one.covers(other) and other.matches(known_as(name)):
        assert one.matches(known_as(name))


@given(WANTED, st.lists(NAMES, max_size=4, unique=True))
def test_a_condition_and_its_opposite_never_both_hold(wanted: HostNames, texts: list[str]) -> None:
    asked = known_as(*texts)
    plain, negated = (HostCondition("host", wanted, each) for each in (False, True))
    assert not (plain.matches(asked) and negated.matches(asked))
    cannot_be_told = plain.holds(asked) is None
    assert cannot_be_told is (negated.holds(asked) is None)
    assert cannot_be_told is (len({text in wanted for text in texts}) != 1)


@pytest.mark.parametrize("aliases", [(), ("a.test", "x.tracker.example")])
def test_a_name_is_listed_by_itself_by_one_above_or_by_an_alias(aliases: tuple[str, ...]) -> None:
    condition = ListCondition("list", (a_list("other.example", "tracker.example"),))
    asked = known_as("www.example.org" if aliases else "x.tracker.example", aliases=aliases)
    assert condition.matches(asked)
    assert condition.entry(asked) == Entry("ads", 2, "tracker.example")


def test_an_address_is_listed_whatever_its_names_are() -> None:
    condition = ListCondition("list", (a_list("tracker.example", "192.0.2.66"),))
    for names in ((), ("a.test",), ("a.test", "b.test")):
        assert condition.matches(known_as(*names, daddr="192.0.2.66"))
    assert condition.entry(known_as(daddr="192.0.2.66")) == Entry("ads", 2, "192.0.2.66")


def test_a_list_of_networks_alone_needs_no_name() -> None:
    condition = ListCondition("list", (a_list("192.0.2.66"),))
    assert condition.holds(known_as()) is False
    assert ListCondition("list", condition.lists, negated=True).matches(known_as())


@pytest.mark.parametrize("names", [(), ("a.test", "tracker.example")])
def test_with_no_name_or_with_names_of_both_kinds_it_cannot_be_told(names: tuple[str, ...]) -> None:
    condition = ListCondition("list", (a_list("tracker.example"),))
    assert condition.holds(known_as(*names)) is None


@pytest.mark.parametrize("negated", [False, True])
def test_of_a_list_without_content_it_cannot_be_told(*, negated: bool) -> None:
    empty = NamedList(ListDefinition("ads", "/ads.txt"))
    assert ListCondition("list", (empty,), negated).holds(known_as("a.test")) is None
    both = ListCondition("list", (empty, a_list("tracker.example")), negated)
    assert both.holds(known_as("tracker.example")) is not negated
    assert both.entry(known_as("tracker.example")) == Entry("ads", 1, "tracker.example")
