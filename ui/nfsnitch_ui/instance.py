"""One program for each user and daemon: whoever starts it again, sees the one that runs."""

from __future__ import annotations

import hashlib
from pathlib import Path

from PyQt6.QtCore import QLockFile, QObject, QStandardPaths, pyqtSignal
from PyQt6.QtNetwork import QLocalServer, QLocalSocket

_SHOW = b"show\n"
_WAIT_MS = 2_000
_HASH_LETTERS = 12


def runtime_directory() -> Path:
    """Return the user's own directory for what lives as long as the session."""
    kind = QStandardPaths.StandardLocation.RuntimeLocation
    return Path(QStandardPaths.writableLocation(kind))


class Instance(QObject):
    """Holds the place of the one program for *path*, and hears from others that were started."""

    asked_to_show = pyqtSignal()

    def __init__(self, path: str, directory: Path, parent: QObject | None = None) -> None:
        super().__init__(parent)
        digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()
        name = f"nfsnitch-ui-{digest[:_HASH_LETTERS]}"
        self._address = str(directory / f"{name}.sock")
        self._lock = QLockFile(str(directory / f"{name}.lock"))
        self._lock.setStaleLockTime(0)
        self._server = QLocalServer(self)
        self._server.setSocketOptions(QLocalServer.SocketOption.UserAccessOption)
        self._server.newConnection.connect(self._on_connection)

    def take(self) -> bool:
        """Become the one; False: there is one already, and it has been asked to show itself."""
        if self._lock.tryLock(0):
            QLocalServer.removeServer(self._address)  # of one that was killed
            self._server.listen(self._address)
            return True
        socket = QLocalSocket()
        socket.connectToServer(self._address)
        if socket.waitForConnected(_WAIT_MS):
            socket.write(_SHOW)
            socket.waitForBytesWritten(_WAIT_MS)
            socket.disconnectFromServer()
        return False

    def release(self) -> None:
        """Let another one take the place."""
        self._server.close()
        self._lock.unlock()

    def _on_connection(self) -> None:
        while (socket := self._server.nextPendingConnection()) is not None:
            socket.disconnected.connect(socket.deleteLater)
            self.asked_to_show.emit()
