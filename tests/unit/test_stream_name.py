"""Server names in the first data over TCP: what is found, what is not, and why."""

from __future__ import annotations

import timeit
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from first_data_play import extension, hello_message, records, server_name, tls_hello
from nfsnitch.core.name import NameSource
from nfsnitch.core.server_name import INCOMPLETE, MAX_BYTES, Found, Nothing
from nfsnitch.core.stream_name import read_stream

SERVER = Found("server.example", NameSource.TLS)
HTTP = Found("server.example", NameSource.HTTP)


def why(data: bytes) -> str:
    reading = read_stream(data)
    assert isinstance(reading, Nothing)
    return reading.reason


def test_the_name_of_a_client_hello_is_found_once_all_of_it_is_there() -> None:
    hello = tls_hello()

    assert {read_stream(hello[:size]) for size in range(len(hello))} == {INCOMPLETE}
    assert read_stream(hello) == SERVER
    assert read_stream(hello + b"\x14\x03\x03\x00\x01\x01") == SERVER


@pytest.mark.parametrize("size", [1, 2, 3, 100, 511])
def test_a_client_hello_may_be_spread_over_several_records(size: int) -> None:
    assert read_stream(records(hello_message(), size)) == SERVER


def test_a_client_hello_of_two_segments_is_read_from_both() -> None:
    # As long as with post-quantum key shares.
    hello = records(hello_message(extra=extension(0x4A4A, bytes(1_200))))

    assert read_stream(hello[:1_400]) is INCOMPLETE
    assert read_stream(hello) == SERVER


def test_a_name_outside_an_encrypted_client_hello_does_not_count() -> None:
    hello = records(hello_message(extra=extension(0xFE0D, b"\0" + bytes(40))))

    assert why(hello) == (
        "its TLS ClientHello is encrypted (ECH), or looks so; outside it says server.example"
    )


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ((), "its TLS ClientHello names no server, or several"),
        ((b"one.example", b"two.example"), "its TLS ClientHello names no server, or several"),
        ((b"192.0.2.1",), "what its TLS ClientHello names is no name of a host"),
        ((b"evil\x1b[2J.example",), "what its TLS ClientHello names is no name of a host"),
        ((b"a" * 64 + b".example",), "what its TLS ClientHello names is no name of a host"),
        ((b"a." * 127 + b"example",), "what its TLS ClientHello names is no name of a host"),
    ],
)
def test_what_is_not_exactly_one_name_of_a_host_is_none(
    names: tuple[bytes, ...], reason: str
) -> None:
    assert why(records(hello_message(None, server_name(*names)))) == reason


def test_a_client_hello_that_says_one_thing_twice_is_broken() -> None:
    hello = hello_message("one.example", server_name(b"two.example"))

    assert why(records(hello)) == "its TLS ClientHello is broken"


def test_a_client_hello_in_thousands_of_pieces_is_read_no_further() -> None:
    hello = hello_message(extra=extension(0x4A4A, bytes(1_200)))
    many = hello_message(extra=b"".join(extension(kind, b"") for kind in range(4_000, 4_300)))

    assert why(records(hello, 1)) == "its TLS ClientHello is not whole in 1024 records"
    assert why(records(many)) == "its TLS ClientHello is broken"


def test_what_a_program_can_send_is_read_within_milliseconds() -> None:
    endless = b"\x01\x00\xff\x00" + bytes(60_000)
    for data in (
        records(endless, 1)[:MAX_BYTES],
        b"GET / HTTP/1.1\r\n" + b"a\r\n" * 20_000 + b"\r\n",
        b"GET / HTTP/1.1\r\n" + b"Host:a\r\n" * 8_000 + b"\r\n",
    ):
        assert min(timeit.repeat(partial(read_stream, data), number=1, repeat=20)) < 0.005


def test_a_server_name_counts_in_lower_case_and_without_its_final_dot() -> None:
    hello = hello_message(None, server_name(b"SERVER.example."))

    assert read_stream(records(hello)) == SERVER


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"EHLO client.example\r\n",
        b"\x80\x2e\x01\x03\x01",
        b"\x16\x01\x01\x00\x05hello",
        b"get / HTTP/1.1\r\nHost: server.example\r\n\r\n",
        b"\0",
    ],
)
def test_other_protocols_have_no_name_and_nobody_waits_for_one(data: bytes) -> None:
    assert why(data) == "its first data is neither TLS nor HTTP"


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: server.example\r\n\r\n",
        b"GET / HTTP/1.1\nhost:SERVER.example.:8080  \n\n",
        b"GET http://user@server.example:80/path HTTP/1.1\r\n\r\n",
        b"GET http://server.example HTTP/1.1\r\nHost: server.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: server.example\r\nHost: server.example\r\n\r\nbody",
        b"CONNECT server.example:443 HTTP/1.1\r\n\r\n",
        b"M-SEARCH * HTTP/1.1\r\nHOST: server.example\r\n\r\n",
    ],
)
def test_the_host_of_a_request_is_found_when_its_header_is_whole(request_: bytes) -> None:
    assert read_stream(request_) == HTTP
    head = request_.removesuffix(b"body")
    assert {read_stream(head[:size]) for size in range(1, len(head) - 1)} == {INCOMPLETE}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (b"", "its HTTP request names no host"),
        (b"Host: one.example\r\nHost: two.example\r\n", "its HTTP request names several hosts"),
        (b"Host : one.example\r\n", "its HTTP request can be read in more than one way"),
        (b"A: b\r\n Host: one.example\r\n", "its HTTP request can be read in more than one way"),
        (b"A: b\rHost: one.example\r\n", "its HTTP request can be read in more than one way"),
        (b"A: b\nHost: one.example\r\n", "its HTTP request can be read in more than one way"),
        (b"Host: one.example\n", "its HTTP request can be read in more than one way"),
        (b"A: b\r\n" * 300, "its HTTP request has more than 256 lines of header"),
        (b"Host: [2001:db8::1]\r\n", "what its HTTP request is for is no name of a host"),
        (b"Host: 192.0.2.1:80\r\n", "what its HTTP request is for is no name of a host"),
        (b"Host: a b\r\n", "what its HTTP request is for is no name of a host"),
    ],
)
def test_a_request_that_does_not_plainly_name_one_host_names_none(
    fields: bytes, reason: str
) -> None:
    assert why(b"GET / HTTP/1.1\r\n" + fields + b"\r\n") == reason


def test_a_target_and_a_host_that_disagree_name_none() -> None:
    request = b"GET http://one.example/ HTTP/1.1\r\nHost: two.example\r\n\r\n"

    assert why(request) == "its HTTP request names several hosts"


def test_the_preface_of_http_2_has_no_name() -> None:
    assert why(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") == "its HTTP is of another version than 1"


def test_a_header_without_an_end_is_given_up_at_the_limit() -> None:
    endless = b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * (MAX_BYTES // 6 + 1)

    assert read_stream(endless[: MAX_BYTES - 1]) is INCOMPLETE
    assert why(endless) == f"its first {MAX_BYTES} bytes do not say"


@given(st.binary(max_size=600))
def test_whatever_the_bytes_are_nothing_raises_and_a_name_is_a_name(data: bytes) -> None:
    for first in (data, b"\x16\x03\x01" + data, b"GET / HTTP/1.1\r\nHost: " + data + b"\r\n\r\n"):
        reading = read_stream(first)
        if isinstance(reading, Found):
            assert set(reading.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.")


@given(st.data())
def test_a_client_hello_with_bytes_changed_never_raises(data: st.DataObject) -> None:
    hello = bytearray(records(hello_message()))
    for _ in range(data.draw(st.integers(1, 5))):
        hello[data.draw(st.integers(0, len(hello) - 1))] = data.draw(st.integers(0, 255))

    reading = read_stream(bytes(hello))

    assert reading is INCOMPLETE or isinstance(reading, Found | Nothing)
