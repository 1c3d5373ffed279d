"""Server names in QUIC: the RFC's own packet, packets in pieces, and packets that lie."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from first_data_play import DCID, V1, V2, crypto, extension, hello_message, initial
from nfsnitch.adapters.quic_cipher import QuicCipher
from nfsnitch.core.name import NameSource
from nfsnitch.core.quic import InitialReader
from nfsnitch.core.server_name import INCOMPLETE, Found, Nothing, Reading

CIPHER = QuicCipher()
SERVER = Found("server.example", NameSource.QUIC)
HELLO = hello_message()
LONG_HELLO = hello_message(extra=extension(0x4A4A, bytes(1_300)))

# RFC 9001, A.2: the frames of the example's first packet; its number is 2.
RFC_FRAMES = bytes.fromhex(
    "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e868"
    "04fe3a47f06a2b69484c00000413011302010000c000000010000e00000b6578"
    "616d706c652e636f6dff01000100000a00080006001d00170018001000070005"
    "04616c706e000500050100000000003300260024001d00209370b2c9caa47fba"
    "baf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b000302030400"
    "0d0010000e0403050306030203080408050806002d00020101001c00024001ff"
    "a500320408ffffffffffffffff05048000ffff07048000ffff08011001048000"
    "75300901100f088394c8f03e51570806048000ffff"
)
RFC_BEGINNING = bytes.fromhex(
    "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11"
    "d242b123dc9bd8bab936b47d92ec356c0bab7df5976d27cd449f63300099f399"
)


def read(*datagrams: bytes) -> Reading:
    reader = InitialReader(CIPHER)
    readings = [reader.add(each) for each in datagrams]
    return readings[-1]


def test_the_keys_of_the_rfc_s_example_follow_from_its_connection_id() -> None:
    secret = CIPHER.hmac(bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"), DCID)
    assert secret == bytes.fromhex(
        "7db5df06e7a69e432496adedb00851923595221596ae2ae9fb8115c1e9ed0a44"
    )
    header_key = bytes.fromhex("9f50449e04a0e810283a1e9933adedd2")
    sample = bytes.fromhex("d1b1c98dd7689fb8ec11d242b123dc9b")
    mask = CIPHER.mask(header_key, sample)
    assert mask is not None
    assert mask[:5] == bytes.fromhex("437b9aec36")


def test_the_rfc_s_example_packet_is_read() -> None:
    packet = initial(RFC_FRAMES, 2)

    assert packet[:18] == RFC_BEGINNING[:18]
    assert packet[18:64] == RFC_BEGINNING[18:64]
    assert read(packet) == Found("example.com", NameSource.QUIC)


@pytest.mark.parametrize("version", [V1, V2])
@pytest.mark.parametrize("token", [b"", b"token"])
def test_a_client_hello_in_one_packet_is_read(version: int, token: bytes) -> None:
    assert read(initial(crypto(HELLO), version=version, token=token)) == SERVER


def test_pieces_may_come_in_any_order_and_between_other_frames() -> None:
    frames = [crypto(HELLO, at, at + 40) for at in range(0, len(HELLO), 40)]
    ack = b"\x02\x40\x05\x40\x00\x40\x01\x40\x00\x40\x01\x40\x00"

    assert read(initial(b"\x01".join([*reversed(frames), ack, crypto(HELLO, 3, 9)]))) == SERVER


def test_a_client_hello_over_two_datagrams_is_read_whichever_comes_first() -> None:
    one = initial(crypto(LONG_HELLO, 0, 1_000), 0)
    two = initial(crypto(LONG_HELLO, 1_000), 1)

    assert read(one) is INCOMPLETE
    assert read(two) is INCOMPLETE
    assert read(one, two) == read(two, one) == SERVER
    assert read(one + two) == SERVER, "in one packet, that the network card cuts up later"


def test_packets_in_one_datagram_are_all_looked_at() -> None:
    small = initial(crypto(LONG_HELLO, 0, 200), 0, size=300)
    rest = initial(crypto(LONG_HELLO, 200), 1, size=1_600)

    assert read(small + rest) == SERVER
    assert read(small + bytes(40) + rest) == SERVER


def test_later_packets_go_to_the_id_that_the_server_chose_with_the_first_one_s_keys() -> None:
    one = initial(crypto(LONG_HELLO, 0, 1_000), 0)
    two = initial(crypto(LONG_HELLO, 1_000), 1, dcid=b"chosen", keys_of=DCID)

    assert read(one, two) == SERVER


def test_a_packet_that_does_not_authenticate_shows_no_name() -> None:
    packet = initial(crypto(HELLO))
    broken = packet[:-1] + bytes((packet[-1] ^ 1,))

    assert read(broken) == Nothing("its QUIC Initial packet cannot be read")
    assert read(broken, packet) == SERVER


def test_pieces_that_contradict_each_other_name_nobody() -> None:
    other = hello_message("others.example")
    contradiction = Nothing("its QUIC Initial packets contradict each other")

    assert read(initial(crypto(HELLO) + crypto(other))) == contradiction
    assert read(initial(crypto(HELLO) + crypto(other, 4, 60))) == contradiction


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\x40" + bytes(40),
        b"\xc0\x0a\x0a\x0a\x0a\x08" + bytes(40),
        b"\xc0\x00\x00\x00\x01\xff" + bytes(400),
        b"\xf0\x00\x00\x00\x01\x00\x00" + bytes(60),
        b"\xc0\x00\x00\x00\x01",
        bytes(64),
    ],
)
def test_what_is_not_quic_is_said_to_be_none(datagram: bytes) -> None:
    assert read(datagram) == Nothing("its first data is not QUIC")


def test_without_a_library_to_decrypt_with_nothing_is_read_and_nothing_raises() -> None:
    class NoCipher(QuicCipher):
        def _loaded(self) -> None:
            return None

    reading = InitialReader(NoCipher()).add(initial(crypto(HELLO)))

    assert reading == Nothing("its QUIC Initial packet cannot be read")


@given(st.lists(st.binary(max_size=200), max_size=4))
def test_whatever_the_datagrams_are_nothing_raises(datagrams: list[bytes]) -> None:
    reader = InitialReader(CIPHER)
    for each in datagrams:
        reader.add(each)
        reader.add(b"\xc3\0\0\0\1" + each)


@settings(max_examples=60)
@given(st.binary(max_size=120))
def test_whatever_the_frames_are_nothing_raises(frames: bytes) -> None:
    reading = read(initial(frames), initial(b"\x06" + frames, 1))

    assert reading is INCOMPLETE or isinstance(reading, Nothing)
