"""Names in QUIC, bounds, and one verdict for each packet whatever happens meanwhile."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from builders import instant
from engine_play import records, verdicts
from first_data_engine import (
    BAD,
    FINE,
    NO_NAMES,
    OPENING,
    RULES,
    SEQ,
    engine,
    hosts,
    segment,
    tcp,
    udp,
)
from first_data_play import crypto, extension, hello_message, initial, tls_hello
from nfsnitch.core.commands import (
    Command,
    WakeAt,
)
from nfsnitch.core.decision import Reason, Verdict
from nfsnitch.core.events import (
    RulesetChanged,
    SocketClosed,
    Stopping,
    TimePassed,
)
from nfsnitch.core.segment import ACK, FIN, RST, SYN
from nfsnitch.core.settings import Limits, Settings

LONG = hello_message(FINE, extension(0x4A4A, bytes(1_300)))
ONE, TWO = initial(crypto(LONG, 0, 1_000), 0), initial(crypto(LONG, 1_000), 1)


def test_quic_is_held_until_its_client_hello_is_whole() -> None:
    started = engine()
    first = started.receive(udp(1, ONE))
    commands = started.receive(udp(2, TWO, seconds=0.1))
    further = started.receive(udp(3, b"\x40" + bytes(50), seconds=0.2))

    assert verdicts(first) == {}
    assert WakeAt(instant(0.2).monotonic_ns) in first
    assert verdicts(commands + further) == dict.fromkeys((1, 2, 3), Verdict.ACCEPT)
    assert hosts(commands) == [(FINE, Reason.RULE)]


def test_half_of_it_is_decided_after_a_fifth_of_a_second_and_read_anew_when_it_is_repeated() -> (
    None
):
    started = engine()
    started.receive(udp(1, ONE))
    late = started.receive(TimePassed(instant(0.2)))
    started.receive(udp(2, ONE, seconds=1))
    commands = started.receive(udp(3, TWO, seconds=1))

    assert verdicts(late) == {1: Verdict.DROP}
    assert verdicts(commands) == {2: Verdict.ACCEPT, 3: Verdict.ACCEPT}


def test_a_datagram_that_says_nothing_does_not_keep_the_next_one_from_saying_it() -> None:
    started = engine()
    nothing = started.receive(udp(1, b"\0\1\0\0 something else"))
    commands = started.receive(udp(2, initial(crypto(hello_message(FINE)))))

    assert verdicts(nothing) == {1: Verdict.DROP}
    assert verdicts(commands) == {2: Verdict.ACCEPT}


def test_what_is_kept_is_bounded_and_what_is_pushed_out_is_recorded() -> None:
    rules = replace(RULES, settings=Settings(limits=Limits(decided_flows=3)))
    started, commands = engine(rules), list[Command]()
    for cookie in range(10):
        commands += started.receive(tcp(cookie, OPENING, sock_cookie=cookie))

    assert len(records(commands)) == 7


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, SYN, ACK, ACK | FIN, RST]),
            st.integers(-3, 600),
            st.integers(0, 600),
            st.integers(1, 2),
        ),
        max_size=25,
    ),
    st.data(),
)
def test_every_packet_gets_one_verdict_whatever_order_things_happen_in(
    packets: list[tuple[int, int, int, int]], data: st.DataObject
) -> None:
    started, given_verdicts, hello = engine(), list[int](), tls_hello(FINE)
    for number, (flags, offset, size, cookie) in enumerate(packets):
        carried = segment(hello[max(offset, 0) :][:size], flags, SEQ + 1 + offset)
        commands = started.receive(tcp(number, carried, seconds=number, sock_cookie=cookie))
        happening = data.draw(st.sampled_from(["", "", "closed", "time", "rules"]))
        if happening == "closed":
            commands += started.receive(SocketClosed(instant(number), cookie))
        if happening == "time":
            commands += started.receive(TimePassed(instant(number + 0.5)))
        if happening == "rules":
            rules = data.draw(st.sampled_from([RULES, NO_NAMES]))
            commands += started.receive(RulesetChanged(instant(number), rules, 2))
        given_verdicts += verdicts(commands)
    given_verdicts += verdicts(started.receive(Stopping(instant(100))))

    assert sorted(given_verdicts) == list(range(len(packets)))


def test_each_quic_connection_of_a_socket_is_decided_by_the_name_that_it_says() -> None:
    started = engine()
    first, second = b"12345678", b"abcdefgh"
    fine, bad = crypto(hello_message(FINE)), crypto(hello_message(BAD))
    later = initial(b"\x02\0\0\0\0", 1, dcid=b"of the server", keys_of=first)
    datagrams = [
        (initial(fine, dcid=first), Verdict.ACCEPT),
        (later, Verdict.ACCEPT),
        (b"\x40 of the first one", Verdict.ACCEPT),
        (initial(fine, 2, dcid=first), Verdict.ACCEPT),
        (initial(bad, dcid=second), Verdict.REJECT),
        (initial(bad, 1, dcid=second), Verdict.REJECT),
        (initial(fine, 3, dcid=first), Verdict.ACCEPT),
    ]
    for number, (datagram, verdict) in enumerate(datagrams):
        assert verdicts(started.receive(udp(number, datagram))) == {number: verdict}
