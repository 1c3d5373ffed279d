"""The flows that wait, and the packets that wait with them: a bounded number of both."""

from __future__ import annotations

from collections.abc import Iterator, KeysView
from dataclasses import dataclass, field

from nfsnitch.core.events import FlowArrived
from nfsnitch.core.flow import Flow
from nfsnitch.core.ruleset import Ruling
from nfsnitch.core.unknown import Unknown

HeldKey = tuple[Flow, int | Unknown]
"""A flow and its socket: while one waits, its tuple may come to be another's."""


def key_of(arrival: FlowArrived) -> HeldKey:
    """Return what a packet's flow is held under."""
    return arrival.flow, arrival.found.sock_cookie


@dataclass(slots=True)
class Held:
    """A flow that waits, with the packets of it that wait."""

    arrival: FlowArrived
    """Its first packet's; whose flow it is may come to be known better meanwhile."""
    ruling: Ruling
    deadline_ns: int
    packet_ids: list[int] = field(default_factory=list)

    @property
    def key(self) -> HeldKey:
        """Return what it is held under."""
        return key_of(self.arrival)


class Holding:
    """All of them, in the order of arrival. The engine alone changes it."""

    def __init__(self) -> None:
        self._flows: dict[HeldKey, Held] = {}
        self._of_socket: dict[int | Unknown, dict[HeldKey, Held]] = {}
        self.packets = 0
        """Packets that wait, of all flows together."""

    def __len__(self) -> int:
        """Return how many flows wait."""
        return len(self._flows)

    def __iter__(self) -> Iterator[Held]:
        """Yield those that wait now; they may be let go meanwhile."""
        return iter(tuple(self._flows.values()))

    def find(self, key: HeldKey) -> Held | None:
        """Return the flow held under *key*, if there is one."""
        return self._flows.get(key)

    @property
    def sockets(self) -> KeysView[int | Unknown]:
        """Those of which a flow waits."""
        return self._of_socket.keys()

    def of_socket(self, cookie: int) -> list[Held]:
        """Return the flows of one socket that wait."""
        return list(self._of_socket.get(cookie, {}).values())

    def begin(self, held: Held) -> None:
        """Hold a flow that is not held yet, with its packets."""
        self._flows[held.key] = held
        self._of_socket.setdefault(held.key[1], {})[held.key] = held
        self.packets += len(held.packet_ids)

    def join(self, held: Held, packet_id: int) -> None:
        """Hold one more packet of a held flow."""
        held.packet_ids.append(packet_id)
        self.packets += 1

    def end(self, held: Held) -> None:
        """Let go of a flow; its packets get their verdicts now."""
        del self._flows[held.key]
        siblings = self._of_socket[held.key[1]]
        del siblings[held.key]
        if not siblings:
            del self._of_socket[held.key[1]]
        self.packets -= len(held.packet_ids)

    def due(self, now_ns: int) -> list[Held]:
        """Return those whose time is over (monotonic)."""
        return [held for held in self._flows.values() if held.deadline_ns <= now_ns]

    def next_deadline_ns(self) -> int | None:
        """Return when the next one's time is over (monotonic); None: nothing waits."""
        return min((held.deadline_ns for held in self._flows.values()), default=None)
