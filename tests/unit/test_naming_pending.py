"""Which answers count: those to a question that was asked, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable
from struct import pack_into

from hypothesis import given
from hypothesis import strategies as st

from naming_play import NamePlay, answer, packed, question, received, sent, user_process
from nfsnitch.core.counters import Counter
from nfsnitch.core.flow import Protocol
from nfsnitch.core.name_sample import DnsPacket
from nfsnitch.naming.messages import Question, read_question
from nfsnitch.naming.pending import MOST_AGE_NS, Pending

ASKED = question("www.example.org", message_id=4_711)
TRUE = answer(ASKED, "www.example.org 60 A 192.0.2.1")
FORGERIES = 10_000


def read(payload: bytes) -> Question:
    asked = read_question(payload)
    assert isinstance(asked, Question)
    return asked


def forged(draw: random.Random) -> DnsPacket:
    """Return an answer that differs from the true one in one thing at least."""
    packet = received(TRUE)
    payload = bytearray(TRUE)
    others: list[Callable[[], DnsPacket]] = [
        lambda: packet._replace(sock_cookie=draw.randrange(2, 1 << 64)),
        lambda: packet._replace(local_port=draw.choice([draw.randrange(1, 40_000), 40_001])),
        lambda: packet._replace(remote=packed(f"198.51.100.{draw.randrange(256)}")),
        lambda: packet._replace(local=packed(f"203.0.113.{draw.randrange(256)}")),
        lambda: packet._replace(proto=Protocol.TCP),
        lambda: _with_id(packet, payload, draw),
        lambda: _for_name(packet, f"w{draw.randrange(1 << 32)}.example.org"),
        lambda: _for_name(packet, "www.example.org", "AAAA"),
        lambda: _for_name(packet, "example.org"),
        lambda: _for_class(packet, payload, draw),
    ]
    return draw.choice(others)()


def _with_id(packet: DnsPacket, payload: bytearray, draw: random.Random) -> DnsPacket:
    pack_into("!H", payload, 0, (4_711 + draw.randrange(1, 1 << 16)) % (1 << 16))
    return packet._replace(payload=bytes(payload))


def _for_name(packet: DnsPacket, name: str, qtype: str = "A") -> DnsPacket:
    asked = question(name, qtype, message_id=4_711)
    record = f"{name} 60 {qtype} {'192.0.2.66' if qtype == 'A' else '2001:db8::66'}"
    return packet._replace(payload=answer(asked, record))


def _for_class(packet: DnsPacket, payload: bytearray, draw: random.Random) -> DnsPacket:
    pack_into("!H", payload, 12 + len("www.example.org") + 2 + 2, draw.randrange(2, 1 << 16))
    return packet._replace(payload=bytes(payload))


def test_ten_thousand_forged_answers_put_no_name_to_an_address() -> None:
    play, draw = NamePlay(), random.Random(6)  # noqa: S311  which forgery comes next
    asker = user_process(pid=1)
    play.owners[1] = asker
    play.names.take(sent(bytes(ASKED.pack())))
    forgeries = [forged(draw) for _ in range(FORGERIES)]
    for each in forgeries:
        play.names.take(each)
    assert len(play.names) == 0
    # Those over TCP are segments of no stream.
    over_udp = sum(each.proto == Protocol.UDP for each in forgeries)
    assert play.counters[Counter.DNS_UNASKED] == over_udp > FORGERIES // 2
    play.names.take(received(TRUE))
    assert play.texts(asker, "192.0.2.1") == ["www.example.org"]


def test_an_answer_counts_once() -> None:
    play = NamePlay()
    play.owners[1] = user_process(pid=1)
    play.names.take(sent(bytes(ASKED.pack())))
    play.names.take(received(TRUE))
    play.names.take(received(answer(ASKED, "www.example.org 60 A 192.0.2.66")))
    assert play.texts(play.owners[1], "192.0.2.66") == []
    assert play.counters[Counter.DNS_UNASKED] == 1


def test_a_question_that_is_repeated_is_answered_all_the_same() -> None:
    play = NamePlay()
    play.owners[1] = user_process(pid=1)
    play.names.take(sent(bytes(ASKED.pack())))
    play.names.take(sent(bytes(ASKED.pack()), at_s=5))
    play.names.take(received(TRUE, at_s=5))
    assert play.texts(play.owners[1], "192.0.2.1", at_s=5) == ["www.example.org"]


def test_a_name_in_other_letters_is_the_same_question() -> None:
    play = NamePlay()
    play.owners[1] = user_process(pid=1)
    play.names.take(sent(bytes(question("wWw.eXample.ORG", message_id=4_711).pack())))
    play.names.take(received(TRUE))
    assert play.texts(play.owners[1], "192.0.2.1") == ["www.example.org"]


def test_a_truncated_answer_does_not_count_and_does_not_use_up_the_question() -> None:
    play = NamePlay()
    play.owners[1] = user_process(pid=1)
    play.names.take(sent(bytes(ASKED.pack())))
    truncated = bytearray(TRUE)
    truncated[2] |= 2
    play.names.take(received(bytes(truncated)))
    assert len(play.names) == 0
    play.names.take(received(TRUE))
    assert len(play.names) == 1


def test_an_answer_that_comes_after_a_minute_does_not_count() -> None:
    pending = Pending()
    asked = read(bytes(ASKED.pack()))
    pending.note(sent(b""), asked)
    assert not pending.take(received(b"", at_s=MOST_AGE_NS / 1e9 + 1), asked)
    assert len(pending) == 0


def test_of_too_many_questions_of_one_socket_its_oldest_is_forgotten() -> None:
    pending = Pending(most=100, most_of_socket=2)
    questions = [read(bytes(question(f"{at}.example").pack())) for at in range(3)]
    pending.note(sent(b"", cookie=9), questions[0])
    assert [pending.note(sent(b""), each) for each in questions] == [0, 0, 1]
    assert not pending.take(received(b""), questions[0])
    assert pending.take(received(b""), questions[2])
    assert pending.take(received(b"", cookie=9), questions[0])


def test_nobody_pushes_out_the_questions_of_another_user() -> None:
    play = NamePlay()
    play.owners[1] = user_process(pid=1)
    play.names.take(sent(bytes(ASKED.pack())))
    for number in range(9_000):
        cookie = 2 + number % 100
        play.owners[cookie] = user_process(pid=cookie, uid=1_001)
        flood = question("flood.example", message_id=number)
        play.names.take(sent(bytes(flood.pack()), cookie))
    play.names.take(received(TRUE))

    assert play.counters[Counter.DNS_FORGOTTEN] > 0
    assert play.texts(play.owners[1], "192.0.2.1") == ["www.example.org"]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30), st.booleans())))
def test_there_are_never_more_questions_than_there_may_be(
    moves: list[tuple[int, int, bool]],
) -> None:
    pending, waiting = Pending(most=12, most_of_socket=4), set[tuple[int, int]]()
    for cookie, number, is_answer in moves:
        asked = Question(number, "www.example.org", 1, 1)
        if is_answer:
            taken = pending.take(received(b"", cookie), asked)
            assert taken <= ((cookie, number) in waiting)
            waiting.discard((cookie, number))
        else:
            pending.note(sent(b"", cookie), asked)
            waiting.add((cookie, number))
        assert len(pending) <= min(12, len(waiting))
