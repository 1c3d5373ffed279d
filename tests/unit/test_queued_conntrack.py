"""What conntrack says of a queued packet."""

from __future__ import annotations

from struct import pack

from hypothesis import given
from hypothesis import strategies as st

from builders import datagrams, flow, ping
from nfsnitch.adapters.queued_conntrack import before_translation
from nfsnitch.core.flow import Flow, packed_address

TRANSLATED, NOT_TRANSLATED = 0x20 | 0x8, 0x8
NEW, ESTABLISHED, NEW_REPLY = 2, 0, 5
SERVICE = packed_address("10.96.0.10")


def attribute(kind: int, content: bytes) -> bytes:
    return pack("=HH", 4 + len(content), kind) + content + bytes(-len(content) % 4)


def message(daddr: bytes, dport: int | None, status: int = TRANSLATED, info: int = NEW) -> bytes:
    """Return a packet's message with an entry whose original destination is this."""
    source, destination = (3, 4) if len(daddr) == 16 else (1, 2)
    addresses = attribute(source, bytes(len(daddr))) + attribute(destination, daddr)
    ports = attribute(1, b"\x06")
    if dport is not None:
        ports += attribute(3, pack(">H", dport))
    original = attribute(1 | 0x8000, addresses) + attribute(2 | 0x8000, ports)
    entry = attribute(1 | 0x8000, original) + attribute(3, pack(">I", status))
    return bytes(20) + attribute(11 | 0x8000, entry) + attribute(12, pack(">I", info))


def test_a_destination_is_what_it_was_before_it_was_translated() -> None:
    before = before_translation(message(SERVICE, 8_080), flow(dport=80))

    assert before == flow(dport=80)._replace(daddr=SERVICE, dport=8_080)


def test_what_has_no_ports_keeps_none() -> None:
    assert before_translation(message(SERVICE, None), ping()) == ping()._replace(daddr=SERVICE)


def test_what_was_not_translated_or_is_an_answer_was_nothing_else() -> None:
    assert before_translation(message(SERVICE, 8_080, NOT_TRANSLATED), flow()) is None
    assert before_translation(message(SERVICE, 8_080, info=NEW_REPLY), flow()) is None
    assert before_translation(message(SERVICE, 8_080, info=ESTABLISHED), flow()) is not None


def test_an_address_of_the_other_family_is_none() -> None:
    assert before_translation(message(bytes(16), 8_080), flow()) is None


@given(st.binary(max_size=200), st.sampled_from([flow(), flow("2001:db8::1"), ping(), datagrams()]))
def test_no_bytes_are_too_odd_to_be_read(raw: bytes, of: Flow) -> None:
    before = before_translation(raw, of)

    assert before is None or len(before.daddr) == len(of.daddr)


@given(st.data())
def test_no_message_that_is_cut_or_changed_is_too_odd(data: st.DataObject) -> None:
    whole = bytearray(message(SERVICE, 8_080))
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(20, len(whole) - 1))] = data.draw(st.integers(0, 255))
    raw = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    before = before_translation(raw, flow())

    assert before is None or len(before.daddr) == 4
