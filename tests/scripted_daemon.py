"""A daemon that only talks: it says what a test wants, and keeps what it hears."""

from __future__ import annotations

import os
import queue
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from control_play import STATUS
from nfsnitch.protocol import (
    MAX_REQUEST_BYTES,
    MOST_ROWS,
    ONCE,
    AddRuleRequest,
    Answered,
    AnswerRequest,
    Asked,
    Asking,
    ChangeRuleRequest,
    Checked,
    CheckRuleRequest,
    Ended,
    KnownNames,
    Lines,
    Mode,
    ModeChanged,
    ModeRequest,
    ModeSet,
    MoveRuleRequest,
    NamesRequest,
    Preview,
    PreviewRequest,
    QuestionsRequest,
    Refused,
    Reply,
    Request,
    Revoked,
    RevokeRequest,
    Right,
    Rules,
    RuleSet,
    RulesRequest,
    Silenced,
    SilencedRequest,
    StatusRequest,
    Why,
    decode_request,
    encode,
)

R = TypeVar("R", bound=Request)
TIMEOUT_S = 20.0
Row = dict[str, Any]


def question(number: int, **others: Any) -> Asked:  # noqa: ANN401  any field
    """Return what is asked of curl, but for the fields given."""
    owner = {
        "owner": "process",
        "pid": 4711,
        "exe": "/usr/bin/curl",
        "args": ["curl", "-sS", "http://192.0.2.1/"],
        "uid": 0,
        "user": "alice",
        "comm": "curl",
        "unit": "session-3.scope",
        "package": "curl",
        "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "changed": False,
        "parents": [{"pid": 1, "exe": "/usr/bin/bash"}, {"pid": 2, "exe": "/usr/sbin/sshd"}],
        **others.pop("owner", {}),
    }
    flow = {
        "proto": "tcp",
        "saddr": "192.0.2.2",
        "sport": 40_000,
        "daddr": f"192.0.2.{number % 200}",
        "dport": 443,
        **others.pop("flow", {}),
    }
    fields: dict[str, Any] = {
        "number": number,
        "since": "2026-11-22T00:17:38.000000Z",
        "left_s": 300.0,
        "flows": 1,
        "reason": "default",
        "rule": None,
        "owner": owner,
        "rivals": (),
        "flow": flow,
        "iface": "eth0",
        "attribution": "queue-probe",
        "who": {"program": "/usr/bin/curl", "unit": "session-3.scope", "user": "alice"},
        "where": {"anywhere": "", "address-port": f"{flow['daddr']}, tcp port 443"},
        "times": None,
        "silently": None,
    }
    return Asked(**fields | others)


def rule_row(name: str, **others: Any) -> Row:  # noqa: ANN401  any field
    """Return a rule as the daemon lists it."""
    row: Row = {
        "name": name,
        "action": "allow",
        "kind": "lasting",
        "enabled": True,
        "expired": False,
        "note": None,
        "origin": None,
        "until": None,
        "left_s": None,
        "process": None,
        "rule": f"name: {name}\naction: allow\nexe: /usr/bin/curl\n",
    }
    return row | others


class ScriptedDaemon:
    """Listens at *path*; by itself it does what a daemon would, as far as a client sees."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rights: tuple[str, ...] = tuple(Right)
        self.mode: tuple[str, float | None] = (Mode.ASK, None)
        self.questions: dict[int, Asked] = {}
        self.silenced: list[Asked] = []
        self.rules: list[Row] = []
        self.problems: list[Row] = []
        self.names: list[Row] = []
        """What is wrong with each rule that is looked at, until `problems` is another list."""
        self.heard: queue.Queue[Request] = queue.Queue()
        """Requests that nobody has waited for yet."""
        self.instead: dict[type[Request], Callable[[Any], list[Reply]]] = {}
        """What to say to a kind of request instead."""
        self._lock = threading.RLock()
        self._clients: list[socket.socket] = []
        self._askers: list[socket.socket] = []
        self._listener = self._listening()

    def ask(self, *asked: Asked) -> None:
        """Ask something of all clients."""
        with self._lock:
            for each in asked:
                self.questions[each.number] = each
                self.say(each)

    def end(self, number: int, outcome: str, action: str | None = None) -> None:
        """End a question."""
        with self._lock:
            del self.questions[number]
            self.say(Ended(number, outcome, action, 0 if action else None))

    def say(self, *replies: Reply) -> None:
        """Say something to all who have asked for questions."""
        with self._lock:
            for client in self._askers:
                with suppress(OSError):
                    client.sendall(b"".join(map(encode, replies)))

    def next(self, kind: type[R]) -> R:
        """Return the next request of a kind; others are passed over."""
        while True:
            request = self.heard.get(timeout=TIMEOUT_S)
            if isinstance(request, kind):
                return request

    def has_heard(self, kind: type[Request]) -> bool:
        """Whether a request of a kind has come that nobody has waited for."""
        return any(isinstance(each, kind) for each in list(self.heard.queue))

    def hang_up(self) -> None:
        """Be gone without a word, as after a crash."""
        with self._lock:
            # close() alone does not wake who is in accept() or recv().
            for each in (self._listener, *self._clients):
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()
            self._clients.clear()
            self._askers.clear()
            self.path.unlink(missing_ok=True)

    def come_back(self) -> None:
        """Be there again, without any question."""
        self.questions.clear()
        self._listener = self._listening()

    def _listening(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(os.fspath(self.path))
        listener.listen()
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                with self._lock:
                    self._clients.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        lines = Lines(MAX_REQUEST_BYTES)
        with suppress(OSError), client:
            while data := client.recv(1 << 16):
                for line in lines.feed(data):
                    self._take(client, decode_request(line))

    def _take(self, client: socket.socket, request: Request) -> None:
        with self._lock:
            if request.right not in self.rights:
                replies: list[Reply] = [Refused(Why.NOT_ALLOWED, "only members of nfsnitch may")]
            else:
                replies = self.instead.get(type(request), self._replies)(request)
            client.sendall(b"".join(map(encode, replies)))
            if isinstance(request, QuestionsRequest):
                self._askers.append(client)
            if isinstance(request, AnswerRequest):
                for reply in replies:
                    self._end_answered(request, reply)
            self.heard.put(request)

    def _end_answered(self, request: AnswerRequest, reply: Reply) -> None:
        for number in reply.taken if isinstance(reply, Answered) else ():
            if number in self.questions:
                self.end(number, "answered", request.action)

    def _replies(self, request: Request) -> list[Reply]:  # noqa: C901, PLR0911, PLR0912  one each
        match request:
            case StatusRequest():
                return [STATUS]
            case QuestionsRequest():
                asking = Asking(self.rights, *self.mode, 30.0, "deny")
                return [asking, *self.questions.values()]
            case AnswerRequest():
                numbers = {*self.questions, *(each.number for each in self.silenced)}
                taken = tuple(each for each in request.questions if each in numbers)
                rules = () if request.duration == ONCE else ("curl to 192.0.2.1",)
                return [Answered(taken, rules, None)]
            case PreviewRequest():
                return [Preview(_preview(request))]
            case ModeRequest():
                self.mode = (request.mode, request.for_s)
                self.say(ModeChanged(*self.mode))
                return [ModeSet(*self.mode)]
            case RulesRequest():
                rows = [each for each in self.rules if each["kind"] == request.kind]
                some = tuple(rows[request.first : request.first + MOST_ROWS])
                return [Rules(7, len(rows), some)]
            case SilencedRequest():
                rows = [_fields(each) for each in self.silenced]
                some = tuple(rows[request.first : request.first + MOST_ROWS])
                return [Silenced(len(rows), some)]
            case NamesRequest():
                return [KnownNames(len(self.names), tuple(self.names[request.first :][:2]))]
            case CheckRuleRequest():
                return [Checked(tuple(self.problems))]
            case AddRuleRequest() | ChangeRuleRequest():
                if self.problems:
                    return [Checked(tuple(self.problems))]
                return [RuleSet(request.rule.partition("\n")[0].removeprefix("name: "), None)]
            case MoveRuleRequest():
                return [RuleSet(request.name, None)]
            case RevokeRequest():
                if all(each["name"] != request.name for each in self.rules):
                    return [Refused(Why.NO_SUCH_RULE, f"no answer has made '{request.name}'")]
                return [Revoked(request.name)]
            case _:
                return [Refused(Why.NOT_SUPPORTED, "not in this play")]


def _preview(request: PreviewRequest) -> str:
    if request.duration == ONCE:
        return ""
    return f"name: {request.who} to {request.where}\naction: {request.action}\nexe: /usr/bin/curl\n"


def _fields(asked: Asked) -> Row:
    return {name: getattr(asked, name) for name in Asked.__slots__}
