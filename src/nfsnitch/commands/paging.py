"""Lists that the daemon gives out some rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from nfsnitch.control_client import Client
from nfsnitch.protocol import KnownNames, Lists, Request, Rules, Silenced


def all_rows(
    client: Client,
    request_from: Callable[[int], Request],
    reply: type[KnownNames | Lists | Rules | Silenced],
) -> Iterator[dict[str, Any]]:
    """Yield the rows of all replies; *request_from* asks for those from a place on, from 0.

    Raises:
        ControlError: the daemon does not say.

    """
    first = 0
    while True:
        some = client.ask(request_from(first), reply)
        yield from some.rows
        first += len(some.rows)
        if not some.rows or first >= some.total:
            return
