"""Fetching lists: bounded in size and time, and never led astray, whatever the server does."""

from __future__ import annotations

import ctypes
import datetime as dt
import ipaddress
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from list_server import ListServer, Page, dripping, endless, list_server
from nfsnitch.adapters.lists.fetching import Fetched, FetchError, Wanted, fetch
from nfsnitch.adapters.lists.helper_process import messages, started
from nfsnitch.adapters.lists.messages import Done, Failed, Job, Message, decoded

TEXT = b"ads.example\n" * 1_000


@pytest.fixture
def server() -> Iterator[ListServer]:
    with list_server() as known:
        yield known


def fetched(wanted: Wanted) -> tuple[Fetched, bytes]:
    pieces: list[bytes] = []
    done = fetch(wanted, pieces.append, lambda _done, _total: None)
    return done, b"".join(pieces)


def refused(wanted: Wanted) -> str:
    with pytest.raises(FetchError) as caught:
        fetched(wanted)
    return str(caught.value)


def test_the_text_comes_as_it_is_packed_or_not(server: ListServer) -> None:
    server.pages = {"/plain": Page(TEXT), "/packed": Page(TEXT, packed=True)}

    for path in server.pages:
        assert fetched(Wanted(server.url + path))[1] == TEXT


def test_an_endless_text_is_ended(server: ListServer) -> None:
    server.pages["/ads"] = Page(send=endless)

    assert refused(Wanted(f"{server.url}/ads", most_bytes=1 << 20)) == (
        "it has more than 1,048,576 bytes"
    )


def test_a_text_that_is_announced_as_too_large_is_not_read(server: ListServer) -> None:
    server.pages["/ads"] = Page(TEXT, length=1 << 40)

    assert "are the most" in refused(Wanted(f"{server.url}/ads"))


def test_what_unpacks_to_far_more_than_it_was_is_ended(server: ListServer) -> None:
    server.pages["/bomb"] = Page(bytes(64 << 20), packed=True)
    pieces: list[int] = []

    with pytest.raises(FetchError, match="it has more than"):
        fetch(
            Wanted(f"{server.url}/bomb", most_bytes=1 << 20),
            lambda piece: pieces.append(len(piece)),
            lambda _done, _total: None,
        )
    assert sum(pieces) <= 1 << 20


def test_a_text_that_drips_is_ended_when_its_time_is_over(server: ListServer) -> None:
    server.pages["/ads"] = Page(send=dripping)

    assert refused(Wanted(f"{server.url}/ads", most_s=0.3)) == "it took longer than 0.3 s"


def half_a_mark(handler: BaseHTTPRequestHandler) -> None:
    """Send the first half of what a packed text begins with."""
    handler.wfile.write(b"\x1f")


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (Page(TEXT, length=len(TEXT) + 5), "it ended after"),
        (Page(b"\x1f\x8b nonsense"), "cannot be unpacked"),
        (Page(status=200, send=half_a_mark), ""),
        (Page(status=404), "answers 404"),
        (Page(status=304), "answers 304"),
        (Page(status=302), "redirects to nowhere"),
        (Page(status=302, location="gopher://127.0.0.1/"), "only http:// and https://"),
        (Page(status=302, location="file:///etc/passwd"), "only http:// and https://"),
        (Page(status=302, location="http://user:word@127.0.0.1/"), "nothing secret is sent"),
    ],
)
def test_a_server_that_says_something_odd_is_understood_as_far_as_it_goes(
    server: ListServer, page: Page, why: str
) -> None:
    server.pages["/ads"] = page

    if why:
        assert why in refused(Wanted(f"{server.url}/ads"))
    else:
        assert fetched(Wanted(f"{server.url}/ads"))[1] == b"\x1f"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://a.example/", "http://", "http://[x/"])
def test_nothing_is_fetched_but_by_http(url: str) -> None:
    assert refused(Wanted(url))


def test_that_nobody_listens_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    assert refused(Wanted(f"http://127.0.0.1:{port}/")) == "Connection refused"


def trusted(folder: Path) -> ssl.SSLContext:
    """Return a server's context, whose certificate is in ``SSL_CERT_FILE`` of *folder*."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "lists.example")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    place, private = folder / "certificate.pem", folder / "key.pem"
    place.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place, private)
    return context


def test_a_certificate_counts_only_if_it_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with list_server(trusted(tmp_path)) as server:
        server.pages["/ads"] = Page(TEXT)
        assert "certificate is not trusted" in refused(Wanted(f"{server.url}/ads"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
        assert fetched(Wanted(f"{server.url}/ads"))[1] == TEXT


def test_nobody_is_led_from_https_to_where_anybody_can_read_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: ListServer
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    server.pages["/ads"] = Page(TEXT)
    with list_server(trusted(tmp_path)) as safe:
        safe.pages["/ads"] = Page(status=302, location=f"{server.url}/ads")

        assert "redirects from https" in refused(Wanted(f"{safe.url}/ads"))
    assert server.asked == []


def outcome(job: Job) -> Message:
    with tempfile.TemporaryFile() as text, tempfile.TemporaryFile() as out:
        whole = replace(job, text_fd=text.fileno(), out_fd=out.fileno())
        return list(messages(started(whole)))[-1]


def test_a_server_that_says_nothing_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        said = outcome(Job(0, 0, url=f"http://127.0.0.1:{port}/", most_s=0.5))

    assert said == Failed("it took too long")


def test_the_process_fetches_over_tls_confined_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    with list_server(trusted(tmp_path)) as server:
        server.pages["/ads"] = Page(TEXT)
        said = outcome(Job(0, 0, url=f"{server.url}/ads"))

    assert isinstance(said, Done), said
    assert said.report is not None
    assert said.report.domains == 1
    assert "no capabilities" in said.kept_in


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b"[]", b"{" * 99_999, b'{"progress": ["x", 1, 2]}', b"\xff", b'{"done": 1}'],
)
def test_what_the_process_says_is_no_message_unless_it_is_one(line: bytes) -> None:
    assert decoded(line) is None


def test_what_the_process_says_of_a_failure_is_shown_harmlessly() -> None:
    assert decoded(b'{"failed": "\\u001b[31m"}') == Failed("\\x1b[31m")


PROBE = """
import os, socket, sys
from nfsnitch.adapters.lists import confinement
work, port, secret = sys.argv[1:]
confinement.confine(fetches=work == "fetches")
def tried(what):
    try:
        what()
    except OSError:
        return "no"
    return "yes"
def connect():
    with socket.socket() as one:
        one.connect(("127.0.0.1", int(port)))
print(
    tried(lambda: open(secret).close()),
    tried(lambda: open(secret, "w").close()),
    tried(connect),
    tried(lambda: os.execv("/bin/true", ["true"])),
)
"""
needs_landlock = pytest.mark.skipif(
    ctypes.CDLL(None).syscall(444, None, 0, 1) < 4,
    reason="this kernel's Landlock does not know the network",
)


@needs_landlock
@pytest.mark.parametrize(("work", "connects"), [("fetches", "yes"), ("compiles", "no")])
def test_the_process_can_neither_read_nor_write_files_of_others_nor_run_programs(
    tmp_path: Path, work: str, connects: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x", "ascii")
    for each in (tmp_path, *tmp_path.parents[:2]):
        each.chmod(0o755)
    secret.chmod(0o666)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = str(listening.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-P", "-c", PROBE, work, port, str(secret)],
            capture_output=True,
            text=True,
            check=False,
        )

    assert done.stderr == ""
    assert done.stdout.split() == ["no", "no", connects, "no"]
