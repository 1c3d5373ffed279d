"""A web server for lists on the loopback interface, good and bad, and a library that uses it."""

from __future__ import annotations

import asyncio
import collections
import gzip
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

from nfsnitch.adapters.lists.library import ListLibrary
from nfsnitch.adapters.lists.list_status import ListStatus
from nfsnitch.core.counters import Counter
from nfsnitch.core.listing import ListDefinition, ListFormat, NamedList

PATIENCE_S = 40.0


@dataclass
class Page:
    """What the server has under a path."""

    text: bytes = b""
    etag: str | None = None
    status: int = 200
    location: str | None = None
    packed: bool = False
    length: int | None = None
    """What it says that there is, if it lies."""
    send: Callable[[BaseHTTPRequestHandler], None] | None = None
    """Sends the body in a way of its own."""


@dataclass
class ListServer:
    """The pages, and which of them were asked for."""

    url: str = ""
    pages: dict[str, Page] = field(default_factory=dict)
    asked: list[tuple[str, int]] = field(default_factory=list)
    """Path and status of each answer."""


class _Handler(BaseHTTPRequestHandler):
    known: ListServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        page = self.known.pages.get(self.path, Page(status=404))
        status = page.status
        if page.etag and self.headers["If-None-Match"] == page.etag:
            status = 304
        self.known.asked.append((self.path, status))
        self._answer(page, status)

    def _answer(self, page: Page, status: int) -> None:
        body = gzip.compress(page.text) if page.packed else page.text
        self.close_connection = True
        self.send_response(status)
        if page.location:
            self.send_header("Location", page.location)
        if page.etag:
            self.send_header("ETag", page.etag)
        if page.packed:
            self.send_header("Content-Encoding", "gzip")
        if page.send is None:
            length = 0 if status == 304 else len(body)
            self.send_header("Content-Length", str(page.length or length))
        self.end_headers()
        try:
            if page.send is not None:
                page.send(self)
            elif status != 304:
                self.wfile.write(body)
        except OSError:  # who asked has heard enough
            pass

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass


@contextmanager
def list_server(context: ssl.SSLContext | None = None) -> Iterator[ListServer]:
    """Serve on a port of the loopback interface until the block ends."""
    known = ListServer()

    handler = type("Handler", (_Handler,), {"known": known})
    server = _Server(("127.0.0.1", 0), handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme = "http" if context is None else "https"
    known.url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield known
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def endless(handler: BaseHTTPRequestHandler) -> None:
    """Send a list that never ends, as fast as it is taken."""
    while True:
        handler.wfile.write(b"endless.example\n" * 4_096)


def dripping(handler: BaseHTTPRequestHandler) -> None:
    """Send a byte now and then, for as long as somebody listens."""
    while True:
        handler.wfile.write(b"x")
        handler.wfile.flush()
        handler.connection.settimeout(0.05)
        try:
            if not handler.connection.recv(1):
                return
        except socket.timeout:  # noqa: UP041  of a socket, on all versions
            continue


class Play:
    """A library in a loop of its own, which runs only while something is waited for."""

    def __init__(self, folder: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.counters: collections.Counter[Counter] = collections.Counter()
        self.changes = 0
        self.library = ListLibrary(folder, self.loop, self.counters, self._changed, look_s=0.05)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End what is under way."""
        self.library.close()
        self.loop.close()

    def _changed(self) -> None:
        self.changes += 1

    def use(self, *lists: NamedList) -> Sequence[NamedList]:
        self.library.use(lists)
        return lists

    def wait_until(self, reached: Callable[[], bool], what: str) -> None:
        """Let the library work until *reached* says that it is so."""

        async def wait() -> None:
            until_s = time.monotonic() + PATIENCE_S
            while not reached():
                assert time.monotonic() < until_s, f"{what}: {self.library.status()}"
                await asyncio.sleep(0.01)

        self.loop.run_until_complete(wait())

    def settled(self) -> list[ListStatus]:
        """Wait until everything has been looked at once, and nothing is under way."""

        def is_settled() -> bool:
            return all(
                each.progress is None and (each.problem or each.checked_s is not None)
                for each in self.library.status()
            )

        self.wait_until(is_settled, "settled")
        return self.library.status()

    def problem(self) -> str:
        """Wait until the only list could not be brought up to date; return why."""
        self.wait_until(lambda: self.library.status()[0].problem is not None, "a problem")
        return str(self.library.status()[0].problem)

    def refreshed(self, *, anyway: bool = False) -> ListStatus:
        """Have the only list brought up to date now, and wait for what comes of it."""
        outcomes = (Counter.LISTS_RENEWED, Counter.LISTS_FAILED)
        asked_s = time.time()
        counted = [self.counters[each] for each in outcomes]
        self.library.refresh(anyway=anyway)

        def is_done() -> bool:
            now = self.library.status()[0]
            if now.progress is not None:
                return False
            since = now.checked_s
            checked = since is not None and time.time() - since > asked_s and not now.waits
            return checked or [self.counters[each] for each in outcomes] != counted

        self.wait_until(is_done, "refreshed")
        return self.library.status()[0]


def named(
    where: str | Path,
    name: str = "ads",
    wanted: ListFormat = ListFormat.AUTO,
    sha256: str | None = None,
) -> NamedList:
    """Return a list as a rule file speaks of it."""
    return NamedList(ListDefinition(name, str(where), wanted, sha256=sha256))
