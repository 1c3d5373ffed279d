"""What is asked of people: one question for all flows of one program to one destination.

Flows that wait for the same answer join one question, so that a program which tries ten times is
asked about once. A question has a number, is asked at most until its time is over, and ends when
no flow waits for it any more: answered, or because something else has decided them all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from nfsnitch.core.flow import Flow
from nfsnitch.core.holding import Held, HeldKey
from nfsnitch.core.instant import Instant
from nfsnitch.core.owner import Finding, Owner, Process
from nfsnitch.core.ruleset import Ruling
from nfsnitch.core.script import interpreter_of, script_of
from nfsnitch.core.unknown import Unknown


class Sender(NamedTuple):
    """Who sends, as far as one question goes: the program, for a user."""

    program: tuple[object, ...]
    uid: int | None
    does: object = None
    """Of an interpreter: the script that it runs, else its arguments."""


class Topic(NamedTuple):
    """What flows have in common that join one question."""

    senders: tuple[Sender, ...]
    """More than one where it is not sure which of them sends."""
    proto: int
    daddr: bytes
    to: object
    """The destination port; for ICMP, type and code."""
    hosts: tuple[frozenset[str], ...] = ()
    """The names by which each sender may have looked for it. What is answered for one name is no
    answer for another at the same address."""


def topic_of(flow: Flow, found: Finding) -> Topic:
    """Return what would be asked about a flow."""
    senders = tuple(map(_sender, (found.owner, *found.rivals)))
    to = (flow.icmp.type, flow.icmp.code) if flow.icmp else flow.dport
    names = (found.names, *found.names_of_rivals)
    hosts = tuple(frozenset(name.text for name in each.names) for each in names)
    return Topic(senders, flow.proto, flow.daddr, to, hosts)


def _sender(owner: Owner) -> Sender:
    if not isinstance(owner, Process):
        return Sender((type(owner), owner.reason), None)
    exe = owner.exe
    if isinstance(exe.path, Unknown):
        # Which program it is cannot be told: then it is the process that is asked about.
        return Sender((exe.path, owner.pid, owner.start_time_ns), owner.uid)
    program = (exe.path, exe.device, exe.inode)
    if interpreter_of(exe.path) is None:
        return Sender(program, owner.uid)
    script = script_of(owner)
    return Sender(program, owner.uid, owner.args if isinstance(script, Unknown) else script)


@dataclass(frozen=True, slots=True)
class Question:
    """One question as people are to see it."""

    number: int
    """Never given twice by one daemon."""
    asked: Instant
    """First; of one that nobody is asked, when it would have been asked last."""
    deadline_ns: int
    """When its time is over (monotonic)."""
    ruling: Ruling
    """Why it is asked."""
    flow: Flow
    """The first of its flows."""
    found: Finding
    iface: str | Unknown
    flows: int
    """How many wait for the answer."""
    times: int | None = None
    """Of one that nobody is asked, for the mode: how often it would have been asked."""


class _Asked:
    """A question with those that wait for it."""

    def __init__(self, number: int, topic: Topic, deadline_ns: int) -> None:
        self.number, self.topic, self.deadline_ns = number, topic, deadline_ns
        self.waiting: dict[HeldKey, Held] = {}

    def seen(self) -> Question:
        first = next(iter(self.waiting.values()))
        arrival = first.arrival
        what = (first.ruling, arrival.flow, arrival.found, arrival.iface)
        return Question(self.number, arrival.now, self.deadline_ns, *what, len(self.waiting))


class Questions:
    """All that are asked now. The engine alone changes it."""

    def __init__(self) -> None:
        self._by_topic: dict[Topic, _Asked] = {}
        self._by_number: dict[int, _Asked] = {}
        self._of_flow: dict[HeldKey, _Asked] = {}
        self._flows_of: Counter[tuple[Sender, ...]] = Counter()
        self._last_number = 0

    def next_number(self) -> int:
        """Return a number that no question has had."""
        self._last_number += 1
        return self._last_number

    def __len__(self) -> int:
        """Return how many are asked."""
        return len(self._by_number)

    def flows_of(self, senders: tuple[Sender, ...]) -> int:
        """Return how many flows of one program (or of those that it may be) wait."""
        return self._flows_of[senders]

    def find(self, number: int) -> Question | None:
        """Return a question that is asked."""
        asked = self._by_number.get(number)
        return None if asked is None else asked.seen()

    def asked(self) -> list[Question]:
        """Return all that are asked, the earliest first."""
        return [each.seen() for each in self._by_number.values()]

    def ask(self, held: Held, topic: Topic) -> Question:
        """Have a held flow wait for an answer, until that question's time is over."""
        asked = self._by_topic.get(topic)
        if asked is None:
            asked = _Asked(self.next_number(), topic, held.deadline_ns)
            self._by_topic[topic] = self._by_number[asked.number] = asked
        held.deadline_ns = asked.deadline_ns
        asked.waiting[held.key] = held
        self._of_flow[held.key] = asked
        self._flows_of[topic.senders] += 1
        return asked.seen()

    def changed(self, held: Held) -> Question | None:
        """Return the question a flow waits for, since more is known of the flow now."""
        asked = self._of_flow.get(held.key)
        return None if asked is None else asked.seen()

    def waiting_for(self, number: int) -> Iterable[Held]:
        """Return the flows that wait for the answer; none if that is not asked (any more)."""
        asked = self._by_number.get(number)
        return () if asked is None else tuple(asked.waiting.values())

    def leave(self, held: Held) -> int | None:
        """Let a flow wait no longer; return the question's number if that was its last one."""
        asked = self._of_flow.pop(held.key, None)
        if asked is None:
            return None
        del asked.waiting[held.key]
        senders = asked.topic.senders
        self._flows_of[senders] -= 1
        if not self._flows_of[senders]:
            del self._flows_of[senders]
        if asked.waiting:
            return None
        del self._by_topic[asked.topic], self._by_number[asked.number]
        return asked.number
