"""The hooks on opening sockets past netfilter: the rules they judge by, and what they tell."""

from __future__ import annotations

import ctypes
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from nfsnitch.adapters.bpf.core_loader import LoadedPrograms
from nfsnitch.adapters.bpf.layout import (
    OPENING,
    OPENING_CONFIG,
    OPENING_NUMBER,
    OPENING_RULE,
    OPENING_SLOT,
    OPENING_TEXT,
    OwnerEntry,
)
from nfsnitch.adapters.bpf.map import BpfMap
from nfsnitch.core.attach import AttachMode
from nfsnitch.core.flow import Bypass
from nfsnitch.core.opening import MAX_OPENING_RULES, Opening, OpeningRule, OpeningTest, Texts

_END, _ALLOW, _REFUSE = 0, 1, 2
"""``enum opening_action``."""
_FIELDS = {name: at for at, name in enumerate(("uid", "user", "gid", "group", "exe", "cgroup"))}
"""``enum opening_field``."""
_KINDS = {Bypass.PACKET: 1, Bypass.XDP: 2}
"""``enum opening_kind``."""
_NO_RULE = 2**32 - 1
_THERE = OPENING_SLOT.pack(1)
_BITS = 8
_FIXED_TEXT_BYTES = 4
"""Of a text's key, between the count of bits and the text itself."""


class Opened(NamedTuple):
    """What a hook tells of an opening (``struct opening``)."""

    opening: Opening
    opener: OwnerEntry
    refused: bool | None
    """None: no hook has judged."""
    rule: int | None
    """The place of the rule that decided, among those of its generation."""
    generation: int
    """Of the rules; 0 where there was none."""


class OpeningHooks:
    """The hooks' rules, their configuration and their ring buffer."""

    def __init__(self, programs: LoadedPrograms, on_opened: Callable[[Opened], None]) -> None:
        """Call *on_opened* for each opening, from within `consume`. Nothing is looked at yet."""
        self._programs = programs
        self._on_opened = on_opened
        self._netns_cookie, self._mntns, self._bank = 0, 0, 0
        self._unattributed = _ALLOW
        self._put: list[tuple[BpfMap, bytes]] = []
        """The values that belong to the rules in force."""
        self._ring = programs.openings(self._heard)

    @property
    def can_refuse(self) -> bool:
        """Whether the hooks decide; otherwise they tell, if anything."""
        return self._programs.mode is AttachMode.LSM

    @property
    def can_tell(self) -> bool:
        """Whether there are hooks at all: no cgroup's hook is run for such sockets."""
        return self._programs.mode is not AttachMode.CGROUP

    def fileno(self) -> int:
        """Return the descriptor that is readable when there is something to `consume`."""
        return self._ring.fileno()

    def consume(self) -> bool:
        """Hear of openings; returns whether there may be more."""
        return self._ring.consume()

    def close(self) -> None:
        """Look at nothing any more, and let go of the ring buffer."""
        self._netns_cookie = 0
        self._configure()
        self._ring.close()

    def begin(self, netns_cookie: int, mntns: int) -> None:
        """Look at openings in the namespace of *netns_cookie*, and at no others.

        Executables are known by paths of the mount namespace *mntns* (an inode number).

        Raises:
            OSError: the kernel refused.

        """
        self._netns_cookie, self._mntns = netns_cookie, mntns
        self._configure()

    def use(
        self, rules: Sequence[OpeningRule], generation: int, *, refuse_unattributed: bool
    ) -> None:
        """Judge by *rules* from here on, all at once.

        Raises:
            OSError: the kernel took no more of them; those before stay in force.

        """
        bank = 1 - self._bank
        put: list[tuple[BpfMap, bytes]] = []
        try:
            for at, rule in enumerate(rules):
                self._put_rule(bank * MAX_OPENING_RULES + at, rule, generation, put)
            if len(rules) < MAX_OPENING_RULES:
                end = OPENING_SLOT.pack(bank * MAX_OPENING_RULES + len(rules))
                self._programs.opening_rules.put(end, bytes(OPENING_RULE.size))
            self._bank = bank
            self._unattributed = _REFUSE if refuse_unattributed else _ALLOW
            self._configure()
        except OSError:
            _remove(put)
            raise
        before, self._put = self._put, put
        _remove(before)

    def _configure(self) -> None:
        fields = (self._netns_cookie, self._mntns, self._bank, self._unattributed, 0)
        self._programs.opening_config.put(OPENING_SLOT.pack(0), OPENING_CONFIG.pack(*fields))

    def _put_rule(
        self, slot: int, rule: OpeningRule, generation: int, put: list[tuple[BpfMap, bytes]]
    ) -> None:
        for test in rule.tests:
            values, keys = self._values(slot, test)
            for key in keys:
                values.put(key, _THERE)
                put.append((values, key))
        fields = (
            _REFUSE if rule.refuses else _ALLOW,
            sum(_KINDS[each] for each in rule.bypasses),
            sum(1 << _FIELDS[test.field] for test in rule.tests),
            sum(1 << _FIELDS[test.field] for test in rule.tests if test.negated),
            generation,
        )
        self._programs.opening_rules.put(OPENING_SLOT.pack(slot), OPENING_RULE.pack(*fields))

    def _values(self, slot: int, test: OpeningTest) -> tuple[BpfMap, Iterator[bytes]]:
        field = _FIELDS[test.field]
        if isinstance(test.wanted, Texts):
            return self._programs.opening_texts, _text_keys(slot << 16 | field, test.wanted)
        numbers = (OPENING_NUMBER.pack(slot, field, value) for value in sorted(test.wanted))
        return self._programs.opening_numbers, numbers

    def _heard(self, address: int, size: int) -> None:
        raw = ctypes.string_at(address, size)
        owner, family, kind, protocol, action, rule, generation = OPENING.unpack(raw)
        bypass = Bypass.PACKET if family == socket.AF_PACKET else Bypass.XDP
        if bypass is Bypass.PACKET:
            protocol = socket.ntohs(protocol & 0xFFFF)
        self._on_opened(
            Opened(
                Opening(bypass, kind, protocol),
                OwnerEntry.unpacked(owner),
                None if action == _END else action == _REFUSE,
                None if rule == _NO_RULE else rule,
                generation,
            )
        )


def _remove(entries: Sequence[tuple[BpfMap, bytes]]) -> None:
    for values, key in entries:
        values.remove(key)


def _text_keys(slot_and_field: int, wanted: Texts) -> Iterator[bytes]:
    """Yield the keys of paths, with the NUL that ends a whole one, and of beginnings."""
    texts = [*(each + b"\0" for each in sorted(wanted.whole)), *sorted(wanted.beginnings)]
    for text in texts:
        bits = _BITS * (_FIXED_TEXT_BYTES + len(text))
        yield OPENING_TEXT.pack(bits, slot_and_field, text)
