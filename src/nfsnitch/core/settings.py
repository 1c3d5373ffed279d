"""What a rule file sets apart from its rules: what happens on failure, and how much is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

MAX_QUEUE_LENGTH = 1_048_576
MAX_LABEL = 127
"""Conntrack has room for 128 labels (net/netfilter/nf_conntrack_labels.c)."""
MAX_MARK = 2**32 - 1


class FailMode(StrEnum):
    """What becomes of a packet that no worker evaluates."""

    CLOSED = "closed"
    """It is dropped, and counted."""
    OPEN = "open"
    """It leaves unevaluated, and is counted."""


class Loopback(StrEnum):
    """What becomes of traffic that stays on this machine."""

    SKIP = "skip"
    """It is not looked at."""
    JUDGE = "judge"
    """It meets the rules as everything else does."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept at most; what is over a limit is counted."""

    held_flows: int = 16_384
    """Flows that wait for an answer."""
    held_flows_of_program: int = 1_024
    """Of these, flows of one program of one user."""
    packets_of_held_flow: int = 64
    """Packets that wait with one such flow."""
    decided_flows: int = 2_048
    """Last decisions that are remembered."""
    trusted_flows: int = 16_384
    """Flows whose further packets pass in the kernel."""
    names: int = 16_384
    """Names of addresses that are known at once."""
    names_of_process: int = 1_024
    """Of these, names that one process has asked for."""


@dataclass(frozen=True, slots=True)
class NameSettings:
    """How names of hosts are come by."""

    first_data: bool = True
    """Read the server's name from a flow's first data, where a rule needs it and has none."""
    libc: bool = True
    """Hear what the C library answers programs that ask it."""
    keep_ns: int = 3_600_000_000_000
    """How long a name counts after the time for which its answer said it would hold."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All of them. Whoever makes one sees to it that the marks fit together (`marks_collide`)."""

    fail: FailMode = FailMode.CLOSED
    loopback: Loopback = Loopback.SKIP
    queue_length: int = 32_768
    """As many packets may wait in the kernel, those held for an answer included."""
    reject_mark: int = 0x6E667372
    """In letters, ``nfsr``. Only ever on a packet between the worker and the end of our chains."""
    queue_bit: int = 0x10000000
    """Only ever on a packet between two chains of ours: it is to be evaluated, and was not yet."""
    label: int = 117
    """Conntrack label of flows that need not be queued again."""
    hang_timeout_ns: int = 15_000_000_000
    """A daemon that has not come round for so long ends itself."""
    limits: Limits = field(default_factory=Limits)
    names: NameSettings = field(default_factory=NameSettings)

    def __post_init__(self) -> None:
        """Refuse marks that would undo each other."""
        if marks_collide(self.reject_mark, self.queue_bit):
            raise ValueError(
                f"reject mark {self.reject_mark:#x} has the queue bit {self.queue_bit:#x} set"
            )

    @property
    def cut_label(self) -> int:
        """Conntrack label of flows that were cut, whose packets are judged one by one."""
        return (self.label + 1) % (MAX_LABEL + 1)

    @property
    def name_bit(self) -> int:
        """Bit of the mark of packets after which their flow's data is judged (`Verdict.PEEK`).

        The highest one that is in no other mark of ours.
        """
        taken = self.reject_mark | self.queue_bit
        bits = [1 << place for place in reversed(range(MAX_MARK.bit_length()))]
        return next((bit for bit in bits if not bit & taken), bits[self.queue_bit == bits[0]])

    @property
    def name_label(self) -> int:
        """Conntrack label of flows whose data is judged, since it may name the host."""
        return (self.label + 2) % (MAX_LABEL + 1)

    @property
    def held_packets(self) -> int:
        """How many packets all held flows may keep in the queue; the rest is for new flows."""
        return most_held(self.queue_length)


class Seeing(NamedTuple):
    """Which packets must be judged besides the first ones of each flow."""

    names: bool = False
    """The first data of connections: it may say a name that a rule needs."""
    questions: bool = False
    """Whatever is sent to DNS servers."""


FIXED = {
    "reject_mark": "reject_mark",
    "queue_bit": "queue_bit",
    "label": "label",
    "hang_timeout_ns": "timeouts: hang",
}
"""What cannot be changed while the daemon runs, with its name in rule files: packets and flows bear
these marks and labels."""


def most_held(queue_length: int) -> int:
    """Return how much of a queue may be taken up by what is held."""
    return max(1, queue_length - queue_length // 4)


def marks_collide(reject_mark: int, queue_bit: int) -> bool:
    """Whether a packet to be rejected would be taken for one that was never evaluated."""
    return bool(reject_mark & queue_bit)
