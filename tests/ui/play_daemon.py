"""A daemon that only plays: it speaks the protocol, and says what a test tells it to.

It answers in a thread of its own, as another process would; what it is asked it keeps.
"""

from __future__ import annotations

import os
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from nfsnitch.protocol import (
    MAX_REQUEST_BYTES,
    AddRuleRequest,
    Answered,
    AnswerRequest,
    Asked,
    Asking,
    ChangeRuleRequest,
    Checked,
    CheckRuleRequest,
    Connections,
    ConnectionsRequest,
    History,
    HistoryRequest,
    Lines,
    ModeChanged,
    ModeRequest,
    ModeSet,
    MoveRuleRequest,
    Preview,
    PreviewRequest,
    QuestionsRequest,
    Refused,
    Reply,
    Request,
    Revoked,
    RevokeRequest,
    Rules,
    RuleSet,
    RulesRequest,
    Silenced,
    SilencedRequest,
    Watching,
    WatchRequest,
    decode_request,
    encode,
)

R = TypeVar("R", bound=Request)

_READ_BYTES = 65_536
ALL_RIGHTS = ("watch", "answer")


class PlayDaemon:
    """Listens at *path* until it is closed."""

    def __init__(self, path: Path, rights: tuple[str, ...] = ALL_RIGHTS) -> None:
        self.path = path
        self.requests: list[Request] = []
        self.questions: list[Asked] = []
        """Told to whoever comes."""
        self.answers: dict[type[Request], Callable[[Request], Reply]] = _plain_answers(rights)
        self._clients: dict[socket.socket, Lines] = {}
        self._to_send: deque[bytes] = deque()
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe()
        self._listener = socket.socket(socket.AF_UNIX)
        path.unlink(missing_ok=True)
        self._listener.bind(str(path))
        self._listener.listen()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def send(self, *replies: Reply) -> None:
        """Say something to everybody, unasked."""
        self.send_raw(b"".join(map(encode, replies)))

    def send_raw(self, data: bytes) -> None:
        """Say something that may be no message at all."""
        self._to_send.append(data)
        os.write(self._wake_write, b"s")

    def asked_for(self, kind: type[R]) -> list[R]:
        """Return all requests of one kind so far."""
        return [each for each in list(self.requests) if isinstance(each, kind)]

    def close(self) -> None:
        """End, as a daemon that crashes does: without a word."""
        os.write(self._wake_write, b"x")
        self._thread.join()
        for each in (self._listener, *self._clients):
            each.close()
        self._clients.clear()
        self._selector.close()
        for descriptor in (self._wake_read, self._wake_write):
            os.close(descriptor)

    def _serve(self) -> None:
        while True:
            for key, _events in self._selector.select():
                if key.fileobj == self._wake_read:
                    if os.read(self._wake_read, 1) == b"x":
                        return
                    self._send_next()
                elif key.fileobj is self._listener:
                    client, _address = self._listener.accept()
                    self._clients[client] = Lines(MAX_REQUEST_BYTES)
                    self._selector.register(client, selectors.EVENT_READ)
                elif isinstance(key.fileobj, socket.socket):
                    self._read(key.fileobj)

    def _read(self, client: socket.socket) -> None:
        try:
            data = client.recv(_READ_BYTES)
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(client)
            del self._clients[client]
            client.close()
            return
        for line in self._clients[client].feed(data):
            self._answer(client, decode_request(line))

    def _answer(self, client: socket.socket, request: Request) -> None:
        reply = self.answers[type(request)](request)
        lines = [encode(reply)]
        if isinstance(reply, Asking):
            lines += map(encode, self.questions)
        with suppress(BrokenPipeError, ConnectionResetError):  # it has gone meanwhile
            client.sendall(b"".join(lines))
        if isinstance(reply, ModeSet):
            self.send(ModeChanged(reply.mode, reply.left_s))
        self.requests.append(request)

    def _send_next(self) -> None:
        """Send in this thread: the one that a test runs in has to read meanwhile."""
        data = self._to_send.popleft()
        for client in self._clients:
            with suppress(BrokenPipeError):  # it is gone, as is found out next
                client.sendall(data)


def _plain_answers(rights: tuple[str, ...]) -> dict[type[Request], Callable[[Request], Reply]]:
    """Return what a daemon with nothing in it says."""
    return {
        QuestionsRequest: lambda _it: Asking(rights, "ask", None, 30.0, "deny"),
        WatchRequest: lambda _it: Watching(),
        AnswerRequest: lambda it: Answered(getattr(it, "questions", ()), (), None),
        PreviewRequest: _preview,
        CheckRuleRequest: lambda _it: Checked(()),
        ModeRequest: lambda it: ModeSet(getattr(it, "mode", ""), getattr(it, "for_s", None)),
        RulesRequest: lambda _it: Rules(1, 0, ()),
        AddRuleRequest: lambda _it: RuleSet("back again", None),
        ChangeRuleRequest: lambda it: RuleSet(getattr(it, "name", ""), None),
        MoveRuleRequest: lambda it: RuleSet(getattr(it, "name", ""), None),
        RevokeRequest: lambda it: Revoked(getattr(it, "name", "")),
        HistoryRequest: lambda _it: History(1, ()),
        ConnectionsRequest: lambda _it: Connections(0, ()),
        SilencedRequest: lambda _it: Silenced(0, ()),
    }


def _preview(request: Request) -> Reply:
    if not isinstance(request, PreviewRequest):
        return Refused("bad-message", "no preview was asked for")
    if request.duration == "once":
        return Preview("")
    return Preview(
        f"name: answer {request.question}\n"
        f"action: {request.action}\n"
        "exe: /usr/bin/curl\n"
        f"# {request.who}, {request.where}, {request.duration}\n"
    )
