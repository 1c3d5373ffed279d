"""Decisions that the kernel repeats by itself: written into the maps of bpf/verdicts.h.

What counts there is of one generation: with each change of the rules the next one begins, and all
from before is void at once. The oldest of what is void makes room by itself.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import NamedTuple

from nfsnitch.adapters.bpf.blocks import HEADER_BYTES
from nfsnitch.adapters.bpf.core_loader import LoadedPrograms
from nfsnitch.adapters.bpf.layout import (
    ANY_ADDRESS,
    ANY_PORT,
    CACHED_ALIKE,
    COOKIE,
    FLOW_KEY,
    IMAGE_KEY,
    OPENING_SLOT,
    PASS,
    PASS_KEY,
    VERDICT,
    VERDICT_KEY,
    VERDICT_SETTINGS,
    ImageFlag,
    ImageKey,
    OwnerEntry,
    OwnerFlag,
)
from nfsnitch.adapters.cached_rules import Outcome
from nfsnitch.core.commands import CacheVerdict, PassFlow
from nfsnitch.core.decision import Action, Decision, Reason, Verdict
from nfsnitch.core.flow import Family, Flow
from nfsnitch.core.owner import Process
from nfsnitch.core.standing import Reach
from nfsnitch.core.unknown import Unknown

PROGRAMS = {
    "nfsnitch_accepts": Outcome.ACCEPT,
    "nfsnitch_rejects": Outcome.REFUSE,
    "nfsnitch_drops": Outcome.DROP,
}
"""What a rule of netfilter asks → what becomes of the packets that it answers for."""

_KEEPER = "nfsnitch_keeper"
_ETHERNET_BYTES = 14
"""So long a packet must be at least for a program to be run on it."""

_ACCEPT = 1
_ACTIONS = {Verdict.ACCEPT: _ACCEPT, Verdict.REJECT: 2, Verdict.DROP: 3}
"""``enum verdict_action``"""


class Made(NamedTuple):
    """A decision, and the generation of the rules that made it."""

    decision: Decision
    rules: int


_NOT_KNOWN_ANY_MORE = {
    1: Made(Decision(Verdict.ACCEPT, Action.ALLOW, Reason.RULE, None), 0),
    2: Made(Decision(Verdict.REJECT, Action.REJECT, Reason.RULE, None), 0),
    3: Made(Decision(Verdict.DROP, Action.DENY, Reason.RULE, None), 0),
}
"""Of a daemon before, which the kernel has outlived."""
_FOR_EVER_NS = 2**63 - 1
_MAX_DECISIONS = 65_536
_GENERATIONS_KNOWN = 64
"""What the kernel has told is heard of up to a quarter of a second later."""
_MAX_GENERATION = 2**32 - 1
_IMAGE_HEAD = Struct(f"={IMAGE_KEY.size}sQQQQIII")
"""The beginning of ``struct image``: up to the mount namespace."""
_FLAGS_WANTED = ImageFlag.READY | ImageFlag.EXE_KNOWN
_FLAGS_ASKED = _FLAGS_WANTED | ImageFlag.EXE_TRUNCATED | ImageFlag.EXE_DELETED | ImageFlag.TORN
_ADDRESS_BYTES = {4: 4, 6: 16}
ADDRESS_BYTES = 16
_TOLD = Struct(f"={HEADER_BYTES}xQH2x{ADDRESS_BYTES + CACHED_ALIKE.size}s")
"""A ``struct cached`` in a block, of which the end is read once for many."""
_ITS_OWN = int(OwnerFlag.USED | OwnerFlag.OPENED)
"""What is true of each socket that is told of there."""


class _RunOptions(ctypes.Structure):
    """``struct bpf_test_run_opts`` (libbpf 1.0)."""

    _fields_ = (
        ("size", ctypes.c_size_t),
        ("data", ctypes.c_char_p),
        ("data_out", ctypes.c_void_p),
        ("data_bytes", ctypes.c_uint32),
        ("data_out_bytes", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("context_out", ctypes.c_void_p),
        ("context_bytes", ctypes.c_uint32),
        ("context_out_bytes", ctypes.c_uint32),
        ("returned", ctypes.c_uint32),
        ("rest", ctypes.c_uint32 * 5),
    )


Told = tuple[int, int, bytes]
"""When the kernel gave a flow a verdict by itself (monotonic), the port of its source, and all the
rest of ``struct cached``: `ADDRESS_BYTES` of its destination, and what is the same of others."""


class CachedFlow(NamedTuple):
    """What the kernel has told of a flow, taken apart."""

    ifindex: int
    """By which its packet would leave; 0: not known."""
    flow: Flow
    owner: OwnerEntry
    """Without times: the socket may have been closed by now."""
    decision: Decision
    rules: int
    """The generation of the rules that made it; 0: those of a daemon before."""


class VerdictCache:
    """What the kernel may repeat, and what it tells of having done so."""

    def __init__(self, programs: LoadedPrograms) -> None:
        """Use the maps of *programs*. Nothing counts yet."""
        self._programs = programs
        self._by_cgroup = self._claims = False
        self._generation = self._read_generation()
        self._numbers: dict[Decision, int] = {}
        self._decisions: dict[tuple[int, int], Made] = {}
        """By generation and number, the oldest first."""
        self._rules = 0
        own = Path("/proc/self/exe").stat()
        self._own_file = own.st_ino, os.major(own.st_dev) << 20 | os.minor(own.st_dev)
        self._ring = programs.cached()

    def keep(self) -> str | None:
        """Be the process without which nothing is repeated; return why that cannot be had.

        To be called before any capabilities are given up.
        """
        fd = self._programs.filters.get(_KEEPER)
        if fd is None:
            return "its eBPF programs were loaded without those that answer"
        packet = bytes(_ETHERNET_BYTES)
        options = _RunOptions(size=ctypes.sizeof(_RunOptions), data=packet, data_bytes=len(packet))
        run = self._programs.library.function("bpf_prog_test_run_opts")
        number = run(fd, ctypes.byref(options))
        if number < 0:
            return f"an eBPF program could not be run: {os.strerror(-number)}"
        return None if options.returned else "an eBPF program could not note who we are"

    def fileno(self) -> int:
        """Return the descriptor that is readable when there is something `told`.

        That is at most four times a second, unless the ring buffer fills up: who has found
        something looks again a quarter of a second later.
        """
        return self._ring.fileno()

    def told(self, most: int) -> Iterator[Told]:
        """Yield what the kernel has told first, *most* at most; it stays until it is `taken`."""
        return _TOLD.iter_unpack(self._ring.look(most))

    def taken(self, number: int) -> None:
        """Forget so many of them: from here on the kernel uses their room again."""
        self._ring.taken(number)

    def flow_told(self, sport: int, alike: bytes) -> CachedFlow | None:
        """Take apart what was `told`; None: the decision is not known, not even its kind."""
        daddr, same = alike[:ADDRESS_BYTES], alike[ADDRESS_BYTES:]
        number, generation, action, ifindex, saddr, dport, *rest = CACHED_ALIKE.unpack(same)
        family, proto, image, tid, uid, gid, netns, comm = rest
        made = self._decisions.get((generation, number)) or _NOT_KNOWN_ANY_MORE.get(action)
        if made is None:
            return None
        size = _ADDRESS_BYTES[family]
        flow = Flow(Family(family), proto, saddr[:size], daddr[:size], sport, dport)
        owner = OwnerEntry(image, 0, 0, tid, uid, gid, netns, _ITS_OWN, comm, image)
        return CachedFlow(ifindex, flow, owner, *made)

    def close(self) -> None:
        """Let go of the ring buffer; what counts in the kernel goes on counting."""
        self._ring.close()

    def begin(self, rules: int, *, by_cgroup: bool) -> None:
        """Void all there is; from here on what is added counts, by *rules* of that generation.

        *by_cgroup* says whether they look at cgroups: then programs are told apart by these, too.
        """
        self._rules, self._by_cgroup = rules, by_cgroup
        self.withdraw()

    def withdraw(self) -> None:
        """Void all there is."""
        before = self._generation
        self._generation = before % _MAX_GENERATION + 1
        self._write_settings()
        self._numbers.clear()
        self._forget_oldest()

    def sees_queued(self, *, sees: bool) -> None:
        """Be told whether the programs are asked about each packet before it is queued.

        While they are, they note whose it is; else what sees each connection does (bpf/hooks.h). To
        be told before that ends, and after it has begun; only where no probe sees the queue.
        """
        self._claims = sees
        self._write_settings()

    def _write_settings(self) -> None:
        settings = VERDICT_SETTINGS.pack(self._generation, self._by_cgroup, self._claims, 0)
        self._programs.verdict_config.put(OPENING_SLOT.pack(0), settings)

    def _forget_oldest(self) -> None:
        while self._decisions:
            generation, number = next(iter(self._decisions))
            age = (self._generation - generation) % _MAX_GENERATION
            if age <= _GENERATIONS_KNOWN and len(self._decisions) <= _MAX_DECISIONS:
                return
            del self._decisions[generation, number]

    def add(self, command: CacheVerdict | PassFlow) -> None:
        """Have the kernel repeat a decision, if it knows of the socket what we do."""
        raw = self._programs.owners.get(COOKIE.pack(command.sock_cookie))
        if raw is None:
            return
        owner = OwnerEntry.unpacked(raw)
        if not _is_of(owner, command.process):
            return  # it has been passed on since: who has it now was not decided about
        with suppress(OSError):  # no room: what is not repeated is decided anew
            if isinstance(command, PassFlow):
                self._pass(command, owner)
            else:
                self._cache(command, owner)

    def _pass(
        self, command: CacheVerdict | PassFlow, owner: OwnerEntry, action: int = _ACCEPT
    ) -> None:
        until_ns = _FOR_EVER_NS if command.until_ns is None else command.until_ns
        self._programs.passes.put(
            PASS_KEY.pack(command.sock_cookie, _flow_key(command.flow)),
            PASS.pack(owner.image_key, until_ns, self._generation, action),
        )

    def _cache(self, command: CacheVerdict, owner: OwnerEntry) -> None:
        key = self._key(command, owner)
        number = self._number_of(command.decision)
        if key is None or number is None:
            return
        action = _ACTIONS[command.decision.verdict]
        self._pass(command, owner, action)  # first: the same flow is not told of again
        until_ns = _FOR_EVER_NS if command.until_ns is None else command.until_ns
        value = VERDICT.pack(until_ns, self._generation, action, number, 0)
        self._programs.verdicts.put(key, value)

    def _key(self, command: CacheVerdict, owner: OwnerEntry) -> bytes | None:
        """Return ``struct verdict_key``; None: not all of it is known."""
        image = self._programs.images.get(owner.image_key)
        if image is None:
            return None
        _, _, inode, changed_ns, path, device, bits, mntns = _IMAGE_HEAD.unpack_from(image)
        if bits & _FLAGS_ASKED != _FLAGS_WANTED or not mntns:
            return None
        is_like_us = (inode, device) == self._own_file and owner.uid == os.geteuid()
        if is_like_us and command.decision.verdict is not Verdict.ACCEPT:
            return None  # what fetches lists may be such a one, and is let out
        image_key = ImageKey.unpacked(owner.image_key)
        return VERDICT_KEY.pack(
            *(inode, changed_ns, path, image_key.cgroup_id if self._by_cgroup else 0),
            *(device, mntns, owner.uid, owner.gid, owner.netns),
            *_destinations(command.flow, command.reach),
        )

    def _number_of(self, decision: Decision) -> int | None:
        number = self._numbers.get(decision)
        if number is None and len(self._numbers) < _MAX_DECISIONS:
            number = self._numbers[decision] = len(self._numbers)
            self._decisions[self._generation, number] = Made(decision, self._rules)
        return number

    def _read_generation(self) -> int:
        raw = self._programs.verdict_config.get(OPENING_SLOT.pack(0))
        return 0 if raw is None else int(VERDICT_SETTINGS.unpack(raw)[0])


def _is_of(owner: OwnerEntry, process: Process) -> bool:
    """Whether an entry is of the process, as it was when the decision was made."""
    key = ImageKey.unpacked(owner.image_key)
    return (key.pid, key.start_ns, owner.uid, owner.gid, owner.netns) == (
        *(process.pid, process.start_time_ns, process.uid, process.gid, process.netns),
    )


def _destinations(flow: Flow, reach: Reach) -> tuple[bytes, int | Unknown, int, int]:
    """Return address, port, family and protocol as the kernel's key has them."""
    if reach is Reach.ANYWHERE:
        return b"", 0, flow.family | ANY_ADDRESS | ANY_PORT, flow.proto
    if reach is Reach.PORT:
        return b"", flow.dport, flow.family | ANY_ADDRESS, flow.proto
    return flow.daddr, flow.dport, flow.family, flow.proto


def _flow_key(flow: Flow) -> bytes:
    ports = flow.sport, flow.dport
    return FLOW_KEY.pack(0, flow.saddr, flow.daddr, *ports, flow.family, flow.proto, 0)
