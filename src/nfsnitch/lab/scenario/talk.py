"""A conversation with the daemon that goes on over many questions.

Each new connection costs the daemon a look at who comes; where the machine is emulated, as much as
the answer itself.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from nfsnitch.control_client import Client, wait_until_readable
from nfsnitch.protocol import Reply, Request

_Kind = TypeVar("_Kind", bound=Reply)


class Talk:
    """Asks the daemon that listens at a socket, whichever that is at the time."""

    def __init__(self, path: Callable[[], Path]) -> None:
        """Connect to *path* when there is something to ask."""
        self._path = path
        self._client: Client | None = None

    def ask(self, request: Request, kind: type[_Kind], timeout_s: float) -> _Kind:
        """Ask, and return the answer.

        Raises:
            ControlError: nobody listens, or gives an answer of that kind.

        """
        client = self._connected()
        try:
            answer = client.ask(request, kind, timeout_s)
        except BaseException:
            self.close()
            raise
        return answer

    def close(self) -> None:
        """Say goodbye; the next question connects again."""
        client, self._client = self._client, None
        if client is not None:
            client.__exit__(None, None, None)

    def _connected(self) -> Client:
        # What is said unasked is that this daemon goes, or has waited for too long.
        if self._client is not None and wait_until_readable(self._client.fileno(), 0):
            self.close()
        if self._client is None:
            self._client = Client(self._path())
        return self._client
