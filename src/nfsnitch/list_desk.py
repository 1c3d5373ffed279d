"""What the daemon does for those who ask after lists: one object for the daemon to wire."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any

from nfsnitch.adapters.control_errors import RefusalError
from nfsnitch.adapters.lists.library import ListLibrary
from nfsnitch.adapters.lists.list_status import ListStatus
from nfsnitch.adapters.peer import Peer
from nfsnitch.asking.rows import page
from nfsnitch.core.listing import CompiledList, Entry
from nfsnitch.core.text import shown
from nfsnitch.lists.items import BadLineError, domain_name
from nfsnitch.protocol import (
    MOST_ROWS,
    FindListedRequest,
    Listed,
    Lists,
    ListsRequest,
    Refreshing,
    RefreshListsRequest,
    Reply,
    Request,
    Why,
)

_MOST_CHARACTERS = 300


class ListDesk:
    """Answers for a library."""

    def __init__(self, library: ListLibrary) -> None:
        self._library = library

    @property
    def others(self) -> Mapping[type[Request], Callable[[Any, Peer], Reply]]:
        """What clients may ask for; see `control.Handlers`."""
        return MappingProxyType(
            {
                ListsRequest: self._lists,
                FindListedRequest: self._find,
                RefreshListsRequest: self._refresh,
            }
        )

    def _lists(self, request: ListsRequest, _peer: Peer) -> Lists:
        known = self._library.status()
        some = known[request.first : request.first + MOST_ROWS]
        return Lists(len(known), page(map(status_row, some)))

    def _find(self, request: FindListedRequest, _peer: Peer) -> Listed:
        found, missing = [], []
        ask = _question(request.text)
        for each in self._library.lists:
            if each.content is None:
                missing.append(each.definition.name)
            elif (entry := ask(each.content)) is not None:
                found.append({"list": entry.list_name, "line": entry.line, "text": entry.text})
        return Listed(page(found), tuple(missing))

    def _refresh(self, request: RefreshListsRequest, _peer: Peer) -> Refreshing:
        names = self._library.refresh(request.name, anyway=request.anyway)
        if not names and request.name is not None:
            known = ", ".join(each.definition.name for each in self._library.lists) or "none"
            text = f"there is no list {shown(request.name[:_MOST_CHARACTERS])}; there are: {known}"
            raise RefusalError(Why.BAD_ANSWER, text)
        return Refreshing(tuple(names))


def status_row(status: ListStatus) -> dict[str, Any]:
    """Return how a list is, as `Lists` has it."""
    row = status._asdict()
    progress = row.pop("progress")
    row["phase"] = progress and progress.phase.value
    row["done"] = progress and progress.done
    row["total"] = progress and progress.total
    return row


def _question(text: str) -> Callable[[CompiledList], Entry | None]:
    try:
        packed = ip_address(text.strip("[]")).packed
    except ValueError:
        pass
    else:
        return lambda content: content.find_address(packed)
    try:
        name = domain_name(text)
    except BadLineError as error:
        quoted = shown(text[:_MOST_CHARACTERS])
        why = f"{quoted}: {error}; write a name as in www.example.org, or an address"
        raise RefusalError(Why.BAD_ANSWER, why) from None
    return lambda content: content.find_name(name)
