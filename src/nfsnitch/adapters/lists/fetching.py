"""A list's text from a URL: bounded in size and time, whatever the server does.

HTTP and HTTPS alone (RFC 9110), certificates checked, no proxy, no credentials. A redirection
never leads from https to http, nor to anything else.
"""

from __future__ import annotations

import ssl
import time
import zlib
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import NamedTuple
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from nfsnitch import __version__
from nfsnitch.adapters.lists.messages import MOST_BYTES, MOST_S
from nfsnitch.core.text import shown

_MOST_REDIRECTIONS = 5
_SILENCE_S = 30.0
_PIECE_BYTES = 1 << 16
_GZIP = b"\x1f\x8b"
_GZIP_WINDOW = 31
_OK, _NOT_MODIFIED = 200, 304
_ELSEWHERE = frozenset({301, 302, 303, 307, 308})
_MOST_TAG_CHARACTERS = 1_024
_UNESCAPED = "/%:@!$&'()*+,;=~?"


class FetchError(Exception):
    """The text could not be had; the message says why, fit to be shown."""


class Wanted(NamedTuple):
    """What is to be fetched."""

    url: str
    etag: str | None = None
    """Of the copy that there is."""
    last_modified: str | None = None
    most_bytes: int = MOST_BYTES
    """Of the text, unpacked."""
    most_s: float = MOST_S


class Fetched(NamedTuple):
    """What came of it."""

    is_new: bool
    """False: the server says that the copy is what it has still."""
    etag: str | None = None
    last_modified: str | None = None


Progress = Callable[[int, int | None], None]
"""Is told how many bytes have come, and how many will (None: the server does not say)."""


def fetch(
    wanted: Wanted,
    write: Callable[[bytes], object],
    progress: Progress,
    context: ssl.SSLContext | None = None,
) -> Fetched:
    """Fetch the text and *write* it piece by piece.

    *context* says whose certificates are trusted; None: as this machine does.

    Raises:
        FetchError: it could not be had, or not all of it.

    """
    context = context or ssl.create_default_context()
    until_s = time.monotonic() + wanted.most_s
    url = wanted.url
    try:
        for _ in range(_MOST_REDIRECTIONS + 1):
            parts = _checked(url)
            with (
                closing(_connection(parts, context)) as connection,
                closing(_answer(connection, parts, wanted)) as response,
            ):
                if response.status not in _ELSEWHERE:
                    return _taken(response, wanted, _Bounded(write, wanted, until_s), progress)
                url = _elsewhere(url, response)
    except TimeoutError:
        raise FetchError(f"nothing came from the server for {_SILENCE_S:g} s") from None
    except ssl.SSLCertVerificationError as error:
        raise FetchError(
            f"the server's certificate is not trusted: {error.verify_message}"
        ) from error
    except HTTPException as error:
        why = f"the server broke off, or speaks no HTTP ({type(error).__name__})"
        raise FetchError(why) from error
    except (OSError, ValueError) as error:
        raise FetchError(shown(getattr(error, "strerror", None) or str(error))) from error
    raise FetchError(f"it was redirected more than {_MOST_REDIRECTIONS} times")


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise FetchError(f"{shown(url)}: this is no URL") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise FetchError(f"{shown(url)}: only http:// and https:// are fetched")
    if parts.username is not None:
        raise FetchError("a user in the URL is of no use: nothing secret is sent")
    return parts


def _connection(parts: SplitResult, context: ssl.SSLContext) -> HTTPConnection:
    host = str(parts.hostname)
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    if parts.scheme == "https":
        return HTTPSConnection(host, parts.port, timeout=_SILENCE_S, context=context)
    return HTTPConnection(host, parts.port, timeout=_SILENCE_S)


def _answer(connection: HTTPConnection, parts: SplitResult, wanted: Wanted) -> HTTPResponse:
    target = quote(parts.path or "/", _UNESCAPED)
    if parts.query:
        target += "?" + quote(parts.query, _UNESCAPED)
    headers = {
        "User-Agent": f"nfsnitch/{__version__}",
        "Accept": "text/plain, */*;q=0.5",
        "Accept-Encoding": "gzip",
        "Connection": "close",
    }
    if wanted.etag:
        headers["If-None-Match"] = wanted.etag
    if wanted.last_modified:
        headers["If-Modified-Since"] = wanted.last_modified
    connection.request("GET", target, headers=headers)
    return connection.getresponse()


def _elsewhere(url: str, response: HTTPResponse) -> str:
    place = response.getheader("Location")
    if not place:
        raise FetchError(f"the server redirects to nowhere (status {response.status})")
    there = urljoin(url, place)
    if url.startswith("https:") and not there.startswith("https:"):
        raise FetchError(f"the server redirects from https to {shown(there)}: that is not followed")
    return there


def _taken(response: HTTPResponse, wanted: Wanted, into: _Bounded, progress: Progress) -> Fetched:
    if response.status == _NOT_MODIFIED and (wanted.etag or wanted.last_modified):
        return Fetched(is_new=False, etag=wanted.etag, last_modified=wanted.last_modified)
    if response.status != _OK:
        raise FetchError(f"the server answers {response.status} {shown(response.reason[:80])}")
    coding = (response.getheader("Content-Encoding") or "identity").strip().lower()
    if coding not in {"identity", "gzip", "x-gzip"}:
        raise FetchError(
            f"the server sends it packed as {shown(coding[:40])}, which nobody asked for"
        )
    total = response.length
    if total is not None and total > wanted.most_bytes:
        raise FetchError(f"it has {total:,} bytes; {wanted.most_bytes:,} are the most")
    done = 0
    while piece := response.read1(_PIECE_BYTES):
        done += len(piece)
        into.take(piece)
        progress(done, total)
    if response.length:
        raise FetchError(f"it ended after {done:,} of {total or 0:,} bytes")
    into.end()
    return Fetched(
        is_new=True, etag=_tag(response, "ETag"), last_modified=_tag(response, "Last-Modified")
    )


def _tag(response: HTTPResponse, name: str) -> str | None:
    """Return what the server wants to be told again, if it is fit for that."""
    text = response.getheader(name)
    if not text or len(text) > _MOST_TAG_CHARACTERS or not (text.isascii() and text.isprintable()):
        return None
    return text


class _Bounded:
    """Unpacks gzip, and ends it where it gets too much or takes too long."""

    def __init__(self, write: Callable[[bytes], object], wanted: Wanted, until_s: float) -> None:
        self._write = write
        self._room = wanted.most_bytes
        self._wanted = wanted
        self._until_s = until_s
        self._begin: bytes | None = b""
        """What has come, while that does not tell whether it is packed; then None."""
        self._unpacker: zlib._Decompress | None = None

    def take(self, piece: bytes) -> None:
        """Take what has come."""
        if time.monotonic() > self._until_s:
            raise FetchError(f"it took longer than {self._wanted.most_s:g} s")
        if self._begin is not None:
            piece = self._begin + piece
            if len(piece) < len(_GZIP):
                self._begin = piece
                return
            self._begin = None
            if piece.startswith(_GZIP):
                self._unpacker = zlib.decompressobj(_GZIP_WINDOW)
        if self._unpacker is None:
            self._put(piece)
        else:
            self._unpack(piece)

    def end(self) -> None:
        """Take note that nothing more comes."""
        if self._begin:
            self._put(self._begin)
        if self._unpacker is not None and not self._unpacker.eof:
            raise FetchError("it ended within what is packed")

    def _unpack(self, piece: bytes) -> None:
        try:
            while piece:
                if self._unpacker is None or self._unpacker.eof:  # one behind the other
                    self._unpacker = zlib.decompressobj(_GZIP_WINDOW)
                self._put(self._unpacker.decompress(piece, _PIECE_BYTES))
                piece = self._unpacker.unconsumed_tail or self._unpacker.unused_data
        except zlib.error:
            raise FetchError("what is packed cannot be unpacked") from None

    def _put(self, text: bytes) -> None:
        self._room -= len(text)
        if self._room < 0:
            raise FetchError(f"it has more than {self._wanted.most_bytes:,} bytes")
        self._write(text)
