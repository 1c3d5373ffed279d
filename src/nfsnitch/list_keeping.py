"""The lists that rules name, as the daemon has them: nothing is loaded before there is one."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from nfsnitch.adapters.peer import Peer
from nfsnitch.core.counters import Counter
from nfsnitch.core.listing import NamedList
from nfsnitch.core.own import Own
from nfsnitch.protocol import FindListedRequest, ListsRequest, RefreshListsRequest, Reply, Request

if TYPE_CHECKING:
    from nfsnitch.adapters.lists.library import ListLibrary
    from nfsnitch.list_desk import ListDesk

_REQUESTS = (ListsRequest, FindListedRequest, RefreshListsRequest)


class Where(NamedTuple):
    """What a library needs."""

    state: Path
    """The directory of what is kept; the lists are in one below it."""
    loop: asyncio.AbstractEventLoop
    counters: collections.Counter[Counter]
    on_change: Callable[[], None]
    own: Own


class ListKeeping:
    """A library of lists and its desk, made when they are first needed."""

    def __init__(self, where: Where) -> None:
        self._where = where
        self._library: ListLibrary | None = None
        self._desk: ListDesk | None = None

    @property
    def others(self) -> Mapping[type[Request], Callable[[Any, Peer], Reply]]:
        """What clients may ask for; see `control.Handlers`."""
        return MappingProxyType(dict.fromkeys(_REQUESTS, self._reply))

    def use(self, lists: Sequence[NamedList]) -> None:
        """Give *lists* their content from here on, and no others."""
        if lists or self._library is not None:
            self._made()[0].use(lists)

    def close(self) -> None:
        """End what is under way."""
        if self._library is not None:
            self._library.close()

    def _reply(self, request: Request, peer: Peer) -> Reply:
        reply: Reply = self._made()[1].others[type(request)](request, peer)
        return reply

    def _made(self) -> tuple[ListLibrary, ListDesk]:
        if self._library is None or self._desk is None:
            # What reads, maps and fetches lists takes memory, and most have none.
            from nfsnitch.adapters.lists.library import ListLibrary  # noqa: PLC0415
            from nfsnitch.adapters.lists.shelf import FOLDER  # noqa: PLC0415
            from nfsnitch.list_desk import ListDesk  # noqa: PLC0415

            where = self._where
            how = (where.loop, where.counters, where.on_change, where.own)
            self._library = ListLibrary(where.state / FOLDER, *how)
            self._desk = ListDesk(self._library)
        return self._library, self._desk
