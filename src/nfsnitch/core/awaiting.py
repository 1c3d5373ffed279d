"""What waits for programs to be identified, by the ticket of each."""

from __future__ import annotations

from dataclasses import replace
from typing import Generic, TypeVar

from nfsnitch.core.identity import Identity
from nfsnitch.core.owner import Finding, Owner, Process

T = TypeVar("T")


class Awaiting(Generic[T]):
    """Things that wait; each until all tickets of its finding are done."""

    def __init__(self) -> None:
        self._by_ticket: dict[int, list[T]] = {}
        self._number = 0

    def __len__(self) -> int:
        """Return how many tickets things wait for, counted once for each thing."""
        return self._number

    def add(self, found: Finding, thing: T) -> None:
        """Have *thing* wait for all that is pending about those who may have sent."""
        for ticket in tickets(found):
            self._by_ticket.setdefault(ticket, []).append(thing)
            self._number += 1

    def done(self, ticket: int) -> list[T]:
        """Return what waited for *ticket*, and forget that it did."""
        things = self._by_ticket.pop(ticket, [])
        self._number -= len(things)
        return things


def tickets(found: Finding) -> set[int]:
    """Return the tickets of all that is pending about those who may have sent."""
    owners = (found.owner, *found.rivals)
    pending = (each.identity.ticket for each in owners if isinstance(each, Process))
    return {ticket for ticket in pending if ticket is not None}


def identified(found: Finding, ticket: int, identity: Identity) -> Finding:
    """Return the finding with *identity* in place of what was pending under *ticket*."""
    rivals = tuple(identified_owner(each, ticket, identity) for each in found.rivals)
    return found._replace(owner=identified_owner(found.owner, ticket, identity), rivals=rivals)


def identified_owner(owner: Owner, ticket: int, identity: Identity) -> Owner:
    """Return the owner with *identity* if that is what it waited for."""
    if isinstance(owner, Process) and owner.identity.ticket == ticket:
        # Several users may run the program; whose name it is, was known at once.
        user, group = owner.identity.user, owner.identity.group
        return replace(owner, identity=replace(identity, user=user, group=group))
    return owner
