"""Reading lists: each format says what it says, and hostile text is counted and harmless."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfsnitch.core.listing import ListFormat
from nfsnitch.lists import adblock
from nfsnitch.lists.gathering import TooManyError, name_of
from nfsnitch.lists.lines import MOST_LINE_BYTES, numbered_lines
from nfsnitch.lists.reading import read_list
from nfsnitch.lists.report import MOST_QUOTED, Report

HOSTS = b"""# title
127.0.0.1 localhost
::1 ip6-localhost ip6-loopback
fe80::1%lo0 localhost
0.0.0.0 0.0.0.0
0.0.0.0 Ads.Example.COM.  two.example.org # why not
::      six.example.net

127.0.0.1\ttab.example.com
"""
FILTERS = b"""[Adblock Plus 2.0]
! Title: filters
||ads.example^
||shout.example^$important
||every.example^$all
||third.example^$third-party
||path.example/ads^
||half.example
@@||good.ads.example^
@@||some.example^$document
example.org##.banner
##.advert
/banner[0-9]+/
-ad-banner.
||192.0.2.7^
||*.below.example^
||wild*.example^
"""


def names_in(text: bytes, wanted: ListFormat = ListFormat.AUTO) -> tuple[set[str], Report]:
    gathered, report = read_list([text], wanted)
    return {name_of(key) for key in gathered.names}, report


def test_a_hosts_file_lists_the_names_behind_addresses_but_for_the_machines_own() -> None:
    names, report = names_in(HOSTS)

    assert report.format is ListFormat.HOSTS
    assert names == {"ads.example.com", "two.example.org", "six.example.net", "tab.example.com"}
    assert (report.domains, report.errors, report.lines) == (4, 0, 9)


def test_of_filters_those_for_whole_domains_are_taken_and_the_rest_is_counted_by_kind() -> None:
    names, report = names_in(FILTERS)

    assert report.format is ListFormat.ADBLOCK
    assert names >= {"ads.example", "shout.example", "every.example", "below.example"}
    assert not {"third.example", "path.example", "half.example", "some.example"} & names
    assert (report.domains, report.networks, report.exceptions) == (4, 1, 1)
    assert report.unsupported == {
        adblock.OPTIONS: 1,
        adblock.PATH: 3,
        adblock.EXCEPTION: 1,
        adblock.COSMETIC: 2,
        adblock.REGEX: 1,
        adblock.WILD: 1,
    }
    assert report.errors == 0


def test_domains_come_with_dots_asterisks_upper_case_and_in_other_alphabets() -> None:
    text = "Ads.Example.\n.dot.example\n*.star.example ; why\nbücher.example\n192.0.2.1\n"
    names, report = names_in(text.encode())

    assert report.format is ListFormat.DOMAINS
    assert names == {"ads.example", "dot.example", "star.example", "xn--bcher-kva.example"}
    assert report.networks == 1


def test_networks_come_as_addresses_blocks_and_ranges() -> None:
    text = b"192.0.2.1\n198.51.100.0/24 ; SBL\n2001:db8::/32 # doc\n203.0.113.4-203.0.113.9\n"
    gathered, report = read_list([text], ListFormat.AUTO)

    assert report.format is ListFormat.NETWORKS
    assert sorted(
        (each.version, each.prefix, line) for each, line in gathered.networks.items()
    ) == [
        (4, 24, 2),
        (4, 30, 4),
        (4, 31, 4),
        (4, 32, 1),
        (6, 32, 3),
    ]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("com", "a whole top-level domain is not taken from a list"),
        ("*", "it names nothing, or everything"),
        ("*.", "it names nothing, or everything"),
        ("ads..example", "this is neither a domain nor an address"),
        ("<html>", "this is neither a domain nor an address"),
        ("http://ads.example/", "this is neither an address nor a network"),
        ("a" * 64 + ".example", "this is neither a domain nor an address"),
        ("example.42", "a number is no top-level domain"),
        ("0.0.0.0/0", "a network of nearly all addresses is not taken from a list"),
        ("2000::/3", "a network of nearly all addresses is not taken from a list"),
        ("192.0.2.1-2001:db8::1", "a range begins and ends with addresses of one family"),
        ("two words.example", "there is more than a domain on the line"),
    ],
)
def test_what_names_nothing_or_far_too_much_is_an_error_with_its_line(line: str, why: str) -> None:
    names, report = names_in(f"good.example\n{line}\n".encode(), ListFormat.DOMAINS)

    assert names == {"good.example"}
    assert [(each.line, each.text, each.why) for each in report.first_errors] == [(2, line, why)]


def test_an_entry_keeps_the_line_where_it_stands_first() -> None:
    text = b"# one\n||twice.example^\n||other.example^\n||twice.example^\n"
    gathered, report = read_list([text], ListFormat.ADBLOCK)

    assert {name_of(key): line for key, line in gathered.names.items()} == {
        "twice.example": 2,
        "other.example": 3,
    }
    assert report.duplicates == 1


def test_escapes_in_a_line_are_quoted_harmlessly_and_no_more_lines_than_people_read() -> None:
    _, report = names_in(b"\x1b[31mred\x07 \xff\n" * 100 + b"good.example\n", ListFormat.DOMAINS)

    assert (report.errors, len(report.first_errors)) == (100, MOST_QUOTED)
    assert all(each.text.isprintable() for each in report.first_errors)
    assert "\\x1b[31mred" in report.first_errors[0].text


def test_a_line_without_an_end_takes_no_memory_and_is_one_error() -> None:
    pieces = [b"x" * 8_000] * 100 + [b"\nafter.example\n"]
    gathered, report = read_list(pieces, ListFormat.DOMAINS)

    assert [name_of(key) for key in gathered.names] == ["after.example"]
    assert report.errors == 1
    assert "longer than" in report.first_errors[0].why


def test_a_list_of_more_entries_than_there_is_room_for_is_refused() -> None:
    with pytest.raises(TooManyError, match="more than 2 entries"):
        read_list([b"a.example\nb.example\nc.example\n"], ListFormat.DOMAINS, most=2)


@given(st.lists(st.binary(max_size=60), max_size=20), st.sampled_from(list(ListFormat)))
def test_no_bytes_make_reading_fail_and_every_line_is_accounted_for(
    pieces: list[bytes], wanted: ListFormat
) -> None:
    gathered, report = read_list(pieces, wanted)

    text = b"".join(pieces)
    assert report.lines == text.count(b"\n") + bool(text and not text.endswith(b"\n"))
    assert report.errors + report.comments <= report.lines
    assert report.domains <= len(gathered.names)
    assert Report.from_json(report.as_json()) == report


LINES = st.sampled_from(
    [
        *HOSTS.split(b"\n"),
        *FILTERS.split(b"\n"),
        b"192.0.2.0/24",
        b"a.example",
        b"\x00\xff|",
        b"||^",
    ]
)


@given(st.lists(LINES, max_size=30), st.sampled_from(list(ListFormat)))
def test_lines_of_other_formats_are_errors_and_never_more(
    lines: list[bytes], wanted: ListFormat
) -> None:
    _, report = read_list([b"\n".join(lines)], wanted)

    assert report.lines <= len(lines)


@given(st.binary(max_size=400), st.integers(1, 50))
def test_where_the_text_is_cut_into_pieces_makes_no_difference(text: bytes, size: int) -> None:
    pieces = [text[at : at + size] for at in range(0, len(text), size)]

    assert list(numbered_lines(pieces)) == list(numbered_lines([text]))


def test_a_byte_order_mark_and_carriage_returns_are_no_part_of_a_line() -> None:
    assert list(numbered_lines([b"\xef\xbb\xbfa\r\n", b"b\r\n"])) == [(1, "a"), (2, "b")]
    assert list(numbered_lines([b"a" * (MOST_LINE_BYTES + 1)])) == [(1, None)]
