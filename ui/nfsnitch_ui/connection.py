"""The connection to the daemon: kept up, and read without ever waiting for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum, auto

from PyQt6.QtCore import QObject, pyqtSignal
from PyQt6.QtNetwork import QLocalSocket

from nfsnitch.protocol import (
    MAX_REPLY_BYTES,
    MAX_REQUEST_BYTES,
    UNASKED,
    Asking,
    Lines,
    ProtocolError,
    QuestionsRequest,
    Refused,
    Reply,
    Request,
    Right,
    WatchRequest,
    Why,
    decode_reply,
    encode,
)
from nfsnitch_ui.i18n import _
from nfsnitch_ui.timers import later

Callback = Callable[[Reply | None], None]
"""Gets the answer; None: the connection was lost before there was one."""

_RETRY_MS = (200, 500, 1_000, 2_000)
"""Waits between attempts; the last one for as long as it takes."""
_RETRY_REFUSED_MS = 10_000
_LINES_AT_ONCE = 200
"""Messages taken in before the windows get a turn."""


class Link(Enum):
    """How the connection is."""

    NONE = auto()
    """No daemon answers; it is tried again and again."""
    ON = auto()
    REFUSED = auto()
    """There is a daemon, and it does not want us."""


class Connection(QObject):
    """Speaks with the daemon at *path*, and connects again whenever that ends."""

    changed = pyqtSignal()
    """`link`, `problem` or `asking` is another."""
    arrived = pyqtSignal(object)
    """What comes by itself: one of `UNASKED`."""

    def __init__(self, path: str, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.path = path
        self.link = Link.NONE
        self.problem = ""
        """Why there is no connection, for people."""
        self.asking: Asking | None = None
        """What the daemon said when it began to send questions."""
        self._callbacks: deque[Callback] = deque()
        self._lines = Lines(MAX_REPLY_BYTES)
        self._unread: deque[bytes] = deque()
        self._attempt = 0
        self._socket = QLocalSocket(self)
        self._socket.connected.connect(self._on_connected)
        self._socket.readyRead.connect(self._on_readable)
        self._socket.errorOccurred.connect(self._on_error)
        self._socket.disconnected.connect(self._on_disconnected)
        self._retry = later(self, 0, self._connect)
        self._more = later(self, 0, self._take_lines)

    @property
    def can_answer(self) -> bool:
        """Whether this user may answer."""
        return (
            self.link is Link.ON
            and self.asking is not None
            and Right.ANSWER.value in self.asking.rights
        )

    def start(self) -> None:
        """Connect, and go on doing so."""
        self._retry.start(0)

    def close(self) -> None:
        """Disconnect, for good."""
        self._retry.stop()
        self._socket.blockSignals(True)  # noqa: FBT003  Qt takes no name here
        self._socket.abort()

    def ask(self, request: Request, callback: Callback) -> None:
        """Send *request*; *callback* gets the answer."""
        line = encode(request)
        if self.link is not Link.ON:
            callback(None)
        elif len(line) > MAX_REQUEST_BYTES:
            callback(Refused(Why.BAD_MESSAGE.value, _("this is too long for the firewall")))
        else:
            self._callbacks.append(callback)
            self._socket.write(line)

    def _connect(self) -> None:
        self._lines = Lines(MAX_REPLY_BYTES)
        self._unread.clear()
        self._socket.connectToServer(self.path)

    def _on_connected(self) -> None:
        self.link = Link.ON
        self.ask(QuestionsRequest(), self._on_asking)
        self.ask(WatchRequest(), lambda _reply: None)
        self._socket.flush()

    def _on_asking(self, reply: Reply | None) -> None:
        if isinstance(reply, Asking):
            self._attempt = 0
            self.asking, self.problem = reply, ""
            self.changed.emit()
        elif isinstance(reply, Refused):
            self._give_up(_refusal(reply))

    def _on_readable(self) -> None:
        try:
            self._unread.extend(self._lines.feed(self._socket.readAll().data()))
        except ProtocolError as error:
            self._give_up(str(error))
            return
        self._take_lines()

    def _take_lines(self) -> None:
        for _turn in range(_LINES_AT_ONCE):
            if not self._unread:
                return
            try:
                self._take(decode_reply(self._unread.popleft()))
            except ProtocolError as error:
                self._give_up(str(error))
                return
        self._more.start()

    def _take(self, reply: Reply) -> None:
        if isinstance(reply, UNASKED):
            self.arrived.emit(reply)
        elif self._callbacks:
            self._callbacks.popleft()(reply)
        elif isinstance(reply, Refused):  # of no request: the daemon does not take this connection
            self._give_up(_refusal(reply))

    def _on_error(self, error: QLocalSocket.LocalSocketError) -> None:
        if self.link is Link.ON:
            return  # what comes is _on_disconnected
        if error is QLocalSocket.LocalSocketError.SocketAccessError:
            self._give_up(_not_allowed())
        else:
            self._lost(Link.NONE, _("The firewall does not run."))

    def _on_disconnected(self) -> None:
        self._take_lines()  # a refusal may be among them
        if self.link is Link.ON:
            self._lost(Link.NONE, _("The firewall has ended the connection."))

    def _give_up(self, problem: str) -> None:
        self._lost(Link.REFUSED, problem)
        self._socket.abort()

    def _lost(self, link: Link, problem: str) -> None:
        known = (self.link, self.problem)
        self.link, self.problem, self.asking = link, problem, None
        self._unread.clear()
        callbacks, self._callbacks = self._callbacks, deque()
        for callback in callbacks:
            callback(None)
        if link is Link.REFUSED:
            self._retry.start(_RETRY_REFUSED_MS)
        else:
            self._retry.start(_RETRY_MS[min(self._attempt, len(_RETRY_MS) - 1)])
            self._attempt += 1
        if known != (link, problem):
            self.changed.emit()


def _not_allowed() -> str:
    return _(
        "You may not talk to the firewall. Its administrator can let you: "
        "by adding you to its group (usually “nfsnitch”), from your next login on."
    )


def _refusal(refused: Refused) -> str:
    if refused.why == Why.NOT_ALLOWED.value:
        return _not_allowed()
    if refused.why == Why.TOO_MANY.value:
        return _("The firewall has too many connections of yours already.")
    if refused.why in {Why.BAD_VERSION.value, Why.UNKNOWN_TYPE.value}:
        return _("The firewall and this program are of different versions.")
    return refused.text
