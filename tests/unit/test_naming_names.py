"""Names that are known: for whom they count, for how long, and where they come from."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naming_play import (
    HOME,
    RESOLVER,
    NamePlay,
    answer,
    packed,
    question,
    received,
    sent,
    user_process,
)
from nfsnitch.core.counters import Counter
from nfsnitch.core.name import Name, NameSource
from nfsnitch.core.owner import Forwarded, Kernel, Owner, Process
from nfsnitch.core.unknown import Unknown
from nfsnitch.naming.hosts import host_name

ME = user_process(pid=100)
MY_OTHER = user_process(pid=200)
YOU = user_process(pid=300, uid=1_001)
STUB = user_process(pid=53, uid=102)
"""A resolver for all of the machine."""
ELSEWHERE = user_process(pid=400, netns=4_026_532_000)
SHARED = "192.0.2.80"


def test_what_a_process_has_asked_for_is_known_with_where_it_came_from() -> None:
    play = NamePlay()
    play.resolves(ME, "www.example.org", SHARED, at_s=1, ttl_s=300, aliases=["cdn.example"])
    assert play.names_of(ME, SHARED, at_s=2).names == (
        Name(
            "www.example.org",
            NameSource.DNS,
            own=True,
            known_ns=1_000_000_000,
            ttl_s=300,
            resolver=RESOLVER,
            aliases=("cdn.example",),
        ),
    )


def test_a_name_nobody_asked_for_is_never_known() -> None:
    play = NamePlay()
    play.owners[100] = ME
    asked = question("www.example.org")
    play.names.take(received(answer(asked, f"www.example.org 60 A {SHARED}"), 100))
    assert play.names_of(ME, SHARED).names == ()
    assert play.counters[Counter.DNS_UNASKED] == 1


def test_two_processes_that_ask_for_two_names_of_one_address_each_have_their_own() -> None:
    play = NamePlay()
    play.resolves(ME, "good.example", SHARED)
    play.resolves(MY_OTHER, "bad.example", SHARED)
    assert play.texts(ME, SHARED) == ["good.example"]
    assert play.texts(MY_OTHER, SHARED) == ["bad.example"]


def test_a_process_that_asked_for_two_names_of_one_address_has_both_the_latest_first() -> None:
    play = NamePlay()
    play.resolves(ME, "one.example", SHARED, at_s=1)
    play.resolves(ME, "two.example", SHARED, at_s=2)
    assert play.texts(ME, SHARED) == ["two.example", "one.example"]
    assert play.names_of(ME, SHARED).is_ambiguous


@pytest.mark.parametrize(
    ("asker", "sender", "counts"),
    [
        (ME, MY_OTHER, True),
        (STUB, ME, True),
        (STUB, YOU, True),
        (user_process(pid=54, uid=0), ME, True),
        (user_process(pid=55, uid=65_534), ME, True),
        (ME, YOU, False),
        (ME, STUB, False),
        (ME, user_process(pid=56, uid=0), False),
        (ME, ELSEWHERE, False),
        (replace(STUB, netns=ELSEWHERE.netns), ME, False),
        (replace(STUB, netns=ELSEWHERE.netns), ELSEWHERE, True),
        (STUB, replace(ME, netns=Unknown("not told")), False),
        (replace(STUB, netns=Unknown("not told")), ME, False),
        (STUB, Forwarded("of another machine"), True),
        (STUB, Kernel("WireGuard"), True),
        (ME, Forwarded("of another machine"), False),
        (ME, Kernel("WireGuard"), False),
        (replace(STUB, netns=ELSEWHERE.netns), Kernel("WireGuard"), False),
        (STUB, Unknown("nobody can tell"), False),
    ],
)
def test_what_others_asked_for_counts_if_they_can_be_trusted_with_it(
    asker: Process, sender: Owner, *, counts: bool
) -> None:
    play = NamePlay()
    play.resolves(asker, "www.example.org", SHARED)
    names = play.names_of(sender, SHARED).names
    assert [(name.text, name.own) for name in names] == [("www.example.org", False)] * counts


def test_where_a_process_has_names_of_its_own_those_of_others_do_not_count() -> None:
    play = NamePlay()
    play.resolves(ME, "mine.example", SHARED)
    play.resolves(STUB, "others.example", SHARED, at_s=1)
    assert play.texts(ME, SHARED, at_s=2) == ["mine.example"]
    assert play.texts(ME, SHARED, at_s=500) == ["mine.example"]  # stale, and its own
    assert play.texts(MY_OTHER, SHARED, at_s=2) == ["others.example", "mine.example"]


def test_a_stale_name_counts_only_where_there_is_no_fresh_one() -> None:
    play = NamePlay()
    play.resolves(ME, "old.example", SHARED, at_s=0, ttl_s=100)
    assert play.texts(ME, SHARED, at_s=101) == ["old.example"]
    assert play.names_of(ME, SHARED, at_s=101).names[0].is_stale(101_000_000_000)
    play.resolves(ME, "new.example", SHARED, at_s=102, ttl_s=100)
    assert play.texts(ME, SHARED, at_s=103) == ["new.example"]


def test_a_name_counts_no_more_when_it_is_too_old_and_says_so() -> None:
    play = NamePlay(keep_s=1_000)
    play.resolves(ME, "www.example.org", SHARED, ttl_s=100)
    assert play.texts(ME, SHARED, at_s=1_100) == ["www.example.org"]
    for who in (ME, MY_OTHER):
        names = play.names_of(who, SHARED, at_s=1_101)
        assert names.names == ()
        assert (
            names.why_none == "the names of this address that programs have asked for are too old"
        )
    assert list(play.names.listing(1_101_000_000_000)) == []
    assert len(play.names) == 0


def test_an_answer_that_is_to_hold_for_no_time_is_fresh_for_a_minute() -> None:
    play = NamePlay()
    play.resolves(ME, "older.example", SHARED, at_s=0, ttl_s=600)
    play.resolves(ME, "www.example.org", SHARED, at_s=1, ttl_s=0)
    assert play.texts(ME, SHARED, at_s=2) == ["www.example.org", "older.example"]


def test_asking_once_more_renews_the_name() -> None:
    play = NamePlay()
    play.resolves(ME, "www.example.org", SHARED, at_s=0, ttl_s=100)
    play.resolves(ME, "www.example.org", SHARED, at_s=90, ttl_s=100)
    (name,) = play.names_of(ME, SHARED, at_s=150).names
    assert not name.is_stale(150_000_000_000)


def test_a_program_with_the_pid_of_another_has_none_of_its_names() -> None:
    play = NamePlay()
    play.resolves(ME, "mine.example", SHARED)
    play.resolves(STUB, "others.example", SHARED)
    assert play.texts(replace(ME, start_time_ns=99), SHARED) == ["mine.example", "others.example"]
    assert play.texts(replace(YOU, pid=ME.pid, start_time_ns=99), SHARED) == ["others.example"]


def test_a_service_of_https_is_known_by_the_name_of_its_host() -> None:
    play = NamePlay()
    play.owners[100] = ME
    asked = question("_8443._https.example.org", "HTTPS")
    hinted = "_8443._https.example.org 60 HTTPS 1 . alpn=h3 ipv4hint=192.0.2.1"
    play.names.take(sent(bytes(asked.pack()), 100))
    play.names.take(received(answer(asked, hinted), 100))
    assert play.texts(ME, "192.0.2.1") == ["example.org"]


def test_an_answer_to_a_socket_of_which_nobody_knows_the_owner_is_counted() -> None:
    play = NamePlay()
    asked = question("www.example.org")
    play.names.take(sent(bytes(asked.pack())))
    play.names.take(received(answer(asked, f"www.example.org 60 A {SHARED}")))
    assert play.counters[Counter.NAMES_UNOWNED] == 1
    assert len(play.names) == 0


# what the C library tells


def test_what_the_c_library_tells_is_known_without_dns() -> None:
    play = NamePlay()
    play.is_told(ME, "Router.HOME.", "192.0.2.254", "::ffff:192.0.2.253")
    (name,) = play.names_of(ME, "192.0.2.254").names
    assert (name.text, name.source, name.ttl_s) == ("router.home", NameSource.LIBC, None)
    assert play.texts(ME, "192.0.2.253") == ["router.home"]


def test_what_dns_said_of_the_same_name_is_not_forgotten_for_it() -> None:
    play = NamePlay()
    play.resolves(ME, "www.example.org", SHARED, ttl_s=300, aliases=["cdn.example"])
    play.is_told(ME, "www.example.org", SHARED, at_s=1)
    (name,) = play.names_of(ME, SHARED, at_s=2).names
    assert (name.source, name.aliases) == (NameSource.DNS, ("cdn.example",))


def test_what_a_stub_resolver_was_told_says_more_of_what_the_c_library_has_from_it() -> None:
    play = NamePlay()
    play.resolves(STUB, "www.example.org", SHARED, ttl_s=300, aliases=["tracker.example"])
    play.is_told(ME, "www.example.org", SHARED, at_s=1)
    (name,) = play.names_of(ME, SHARED, at_s=2).names
    assert (name.source, name.own, name.ttl_s) == (NameSource.LIBC, True, 300)
    assert name.aliases == ("tracker.example",)


def test_a_name_to_which_the_c_library_adds_a_domain_is_one_name() -> None:
    play = NamePlay()
    play.resolves(ME, "www.example.org", SHARED)
    play.is_told(ME, "www", SHARED, at_s=1)
    assert play.texts(ME, SHARED, at_s=2) == ["www.example.org"]
    play.resolves(STUB, "mail.example.org", "192.0.2.25", at_s=3)
    play.is_told(ME, "mail", "192.0.2.25", at_s=4)
    assert play.texts(ME, "192.0.2.25", at_s=5) == ["mail.example.org"]


@pytest.mark.parametrize(
    "text", ["192.0.2.1", "2001:db8::1", "127.1", "0x7f.1", "2130706433", "fe80::1%eth0", "::1"]
)
def test_an_address_is_no_name(text: str) -> None:
    play = NamePlay()
    play.is_told(ME, text, "192.0.2.1")
    assert len(play.names) == 0
    assert play.counters[Counter.DNS_MALFORMED] == 0


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Example.ORG.", "example.org"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("_dmarc.example", "_dmarc.example"),
        ("localhost", "localhost"),
    ],
)
def test_names_are_written_as_dns_has_them(text: str, name: str) -> None:
    assert host_name(text) == name


@pytest.mark.parametrize(
    "text",
    ["", ".", "a..b", "a\0b", "a\\046b", "\x1b[31m", "a b", "x" * 64, "a." * 127 + "a", "\udc80"],
)
def test_what_is_no_name_is_counted_and_not_known(text: str) -> None:
    play = NamePlay()
    play.is_told(ME, text, "192.0.2.1")
    assert len(play.names) == 0
    assert play.counters[Counter.DNS_MALFORMED] == 1


@given(st.text(max_size=300))
def test_no_text_makes_a_name_of_other_characters(text: str) -> None:
    name = host_name(text)
    if isinstance(name, str):
        assert name == name.lower()
        assert len(name) <= 253
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.")
        assert host_name(name) == name


def test_addresses_that_are_none_are_left_alone() -> None:
    play = NamePlay()
    play.is_told(ME, "www.example.org")
    play.names.take(received(b"")._replace(payload=b"\0"))
    assert len(play.names) == 0


def test_the_listing_says_for_which_process_each_name_is_known() -> None:
    play = NamePlay()
    play.resolves(ME, "www.example.org", "192.0.2.1", "192.0.2.2")
    play.resolves(YOU, "www.example.org", "192.0.2.1")
    places = list(play.names.listing(0))
    assert [(each.pid, each.address, each.uid, each.netns) for each in places] == [
        (100, packed("192.0.2.1"), 1_000, HOME),
        (100, packed("192.0.2.2"), 1_000, HOME),
        (300, packed("192.0.2.1"), 1_001, HOME),
    ]
