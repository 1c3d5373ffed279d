"""The compiled form answers as somebody would who reads the whole list for each question."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfsnitch.core.listing import Entry, ListFormat
from nfsnitch.lists.compiled import CompiledContent, Content
from nfsnitch.lists.compiling import sections_of
from nfsnitch.lists.layout import Description, Origin, SpoiledError, written
from nfsnitch.lists.reading import read_list

Network = IPv4Network | IPv6Network


def image(text: bytes, wanted: ListFormat = ListFormat.AUTO) -> bytes:
    gathered, report = read_list([text], wanted)
    origin = Origin("0" * 64, len(text), '"tag"', "Thu, 01 Jan 1970 00:00:00 GMT")
    return b"".join(written(Description(origin, report, 7), sections_of(gathered)))


def compiled(text: bytes, wanted: ListFormat = ListFormat.AUTO) -> CompiledContent:
    return CompiledContent("ads", Content(memoryview(image(text, wanted))))


def test_a_domain_is_found_by_its_name_and_by_all_names_below_it_and_by_no_other() -> None:
    some = compiled(b"# top\nads.example.org\nb.ads.example.org\n")

    assert some.find_name("ads.example.org") == Entry("ads", 2, "ads.example.org")
    assert some.find_name("x.y.ads.example.org") == Entry("ads", 2, "ads.example.org")
    assert some.find_name("a.b.ads.example.org") == Entry("ads", 3, "b.ads.example.org")
    for other in ("example.org", "myads.example.org", "ads.example.org.net", "org", "", "."):
        assert some.find_name(other) is None


def test_a_hosts_file_means_each_name_alone() -> None:
    some = compiled(b"0.0.0.0 ads.example.org\n")

    assert some.find_name("ads.example.org") == Entry("ads", 1, "ads.example.org")
    assert some.find_name("x.ads.example.org") is None


def test_an_asterisk_means_what_is_below_and_not_the_domain_itself() -> None:
    some = compiled(b"example.net\n*.star.example\n", ListFormat.DOMAINS)

    assert some.find_name("a.star.example") == Entry("ads", 2, "*.star.example")
    assert some.find_name("star.example") is None


def test_an_exception_takes_back_what_is_below_it_but_nothing_important() -> None:
    some = compiled(
        b"||ads.example^\n@@||good.ads.example^\n||bad.good.ads.example^$important\n"
        b"||lost.good.ads.example^\n||loud.example^$important\n@@||a.loud.example^\n"
    )

    assert some.find_name("good.ads.example") is None
    assert some.find_name("lost.good.ads.example") is None
    assert some.find_name("other.ads.example") == Entry("ads", 1, "ads.example")
    assert some.find_name("x.bad.good.ads.example") == Entry("ads", 3, "bad.good.ads.example")
    assert some.find_name("a.loud.example") == Entry("ads", 5, "loud.example")
    assert some.names == 3
    assert [some.has_name(each) for each in ("good.ads.example", "x.ads.example")] == [False, True]


def test_the_smallest_network_around_an_address_is_found() -> None:
    some = compiled(b"192.0.2.0/24\n192.0.2.128/25\n192.0.2.200\n2001:db8::/32\n2001:db8::1\n")
    found = {
        text: some.find_address(ip_address(text).packed)
        for text in ("192.0.2.1", "192.0.2.130", "192.0.2.200", "192.0.3.0", "2001:db8::1")
    }

    assert found == {
        "192.0.2.1": Entry("ads", 1, "192.0.2.0/24"),
        "192.0.2.130": Entry("ads", 2, "192.0.2.128/25"),
        "192.0.2.200": Entry("ads", 3, "192.0.2.200/32"),
        "192.0.3.0": None,
        "2001:db8::1": Entry("ads", 5, "2001:db8::1/128"),
    }


@pytest.mark.parametrize("name", ["a\0b.example", "\udc80.example", "é.example", "x" * 5_000, "!."])
def test_no_name_makes_a_question_fail(name: str) -> None:
    some = compiled(b"ads.example\n")

    assert some.find_name(name) is None
    assert not some.has_name(name)


def test_no_address_makes_a_question_fail() -> None:
    some = compiled(b"192.0.2.0/24\n")

    assert [some.find_address(raw) for raw in (b"", b"abc", b"x" * 16, b"x" * 17)] == [None] * 4


LABELS = st.sampled_from(["a", "b", "ab", "ba", "x-1", "example", "com"])
NAMES = st.lists(LABELS, min_size=2, max_size=4).map(".".join)


@given(st.lists(NAMES, max_size=12), st.lists(NAMES, min_size=1, max_size=12))
def test_names_are_found_as_a_linear_search_finds_them(listed: list[str], asked: list[str]) -> None:
    some = compiled("\n".join(listed).encode(), ListFormat.DOMAINS)

    for name in (*asked, *listed):
        labels = name.split(".")
        above = [".".join(labels[at:]) for at in range(len(labels))]
        nearest = next((each for each in above if each in listed), None)
        wanted = None if nearest is None else Entry("ads", listed.index(nearest) + 1, nearest)
        assert some.find_name(name) == wanted
        assert some.has_name(name) is (wanted is not None)


NETWORKS: st.SearchStrategy[Network] = st.one_of(
    st.builds(
        lambda at, bits: ip_network((at, bits), strict=False),
        st.sampled_from([0, 1, 0xC0000200, 0xC0000280, 0xFFFFFFFF]),
        st.integers(3, 32),
    ),
    st.builds(
        lambda at, bits: ip_network((at, bits), strict=False),
        st.sampled_from([1 << 32, 0xFD << 120, (0xFD << 120) + 5, (1 << 128) - 1, 1 << 64]),
        st.integers(8, 128),
    ),
)


@given(st.lists(NETWORKS, max_size=12), st.lists(NETWORKS, min_size=1, max_size=12))
def test_addresses_are_found_as_a_linear_search_finds_them(
    listed: list[Network], asked: list[Network]
) -> None:
    some = compiled("\n".join(map(str, listed)).encode(), ListFormat.NETWORKS)

    for network in (*asked, *listed):
        for address in (network.network_address, network.broadcast_address):
            around = [each for each in listed if address in each]
            smallest = max(around, key=lambda each: each.prefixlen, default=None)
            wanted = smallest and Entry("ads", listed.index(smallest) + 1, str(smallest))
            assert some.find_address(address.packed) == wanted
            assert some.has_address(address.packed) is (wanted is not None)


WHOLE = image(b"ads.example\n192.0.2.0/24\n2001:db8::/32\n", ListFormat.DOMAINS)


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_a_compiled_list_of_which_one_byte_has_changed_is_refused(at: int, change: int) -> None:
    spoiled = bytearray(WHOLE)
    spoiled[at] ^= change

    try:
        content = Content(memoryview(bytes(spoiled)))
    except SpoiledError:
        return
    assert 28 <= at < 32, "only padding does not count"
    assert CompiledContent("ads", content).find_name("ads.example")


@given(st.integers(0, len(WHOLE) - 1))
def test_a_compiled_list_that_is_cut_off_is_refused(size: int) -> None:
    with pytest.raises(SpoiledError):
        Content(memoryview(WHOLE[:size]))


@given(st.binary(max_size=200))
def test_what_is_no_compiled_list_is_refused(raw: bytes) -> None:
    with pytest.raises(SpoiledError):
        Content(memoryview(raw))


def test_what_a_list_was_made_of_is_kept_with_it() -> None:
    description = compiled(b"ads.example\nnonsense here\n", ListFormat.DOMAINS).description

    assert description.origin.etag == '"tag"'
    assert description.report.domains == 1
    assert [each.line for each in description.report.first_errors] == [2]
