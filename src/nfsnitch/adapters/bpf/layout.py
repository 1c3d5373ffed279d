"""The keys and values of the maps, byte for byte as bpf/layout.h has them."""

from __future__ import annotations

import os
from enum import IntEnum, IntFlag
from struct import Struct
from typing import NamedTuple

from nfsnitch.core.flow import Flow
from nfsnitch.core.text import decoded
from nfsnitch.core.unknown import Unknown

LAYOUT_VERSION = 5
"""Raised with every change to what a map's keys and values mean: maps outlive the daemon."""

EXE_BYTES, CGROUP_BYTES, ARGS_BYTES, NAME_BYTES = 1024, 512, 1024, 256

COOKIE = Struct("=Q")
IMAGE_KEY = Struct("=QQQII")
IMAGE = Struct(
    f"={IMAGE_KEY.size}sQQQQIIIIHHHH"
    f"{EXE_BYTES + NAME_BYTES}s{CGROUP_BYTES + NAME_BYTES}s{ARGS_BYTES}s"
)
OWNER = Struct(f"={IMAGE_KEY.size}sQQIIIIII16s{IMAGE_KEY.size}s")
FLOW_KEY = Struct("=Q16s16sHHBBH")
MAX_PREVIOUS = 4
FLOW_VALUE = Struct(f"=QQQQ{MAX_PREVIOUS}Q")
CROSSING_KEY = Struct(f"={FLOW_KEY.size}sII")
CROSSING_VALUE = Struct(f"={FLOW_VALUE.size}sQ")
PORT_KEY = Struct("=QHHI")
PORT_VALUE = Struct("=QQ")
RAW_KEY = Struct("=QII")
RAW_VALUE = Struct("=QqQ")
OPENING_CONFIG = Struct("=QIIII")
OPENING_RULE = Struct("=IIIII")
OPENING_NUMBER = Struct("=IIQ")
OPENING_TEXT = Struct("=II172s")
OPENING = Struct(f"={OWNER.size}sIIIIII")
OPENING_SLOT = Struct("=I")
DNS_SAMPLE = Struct("=IIQQQ16s16sIIHHBBBx")
LIBC_NAME_BYTES, LIBC_ADDRESSES = 256, 16
LIBC_SAMPLE = Struct(f"=IIQ{OWNER.size}s{LIBC_NAME_BYTES}s{LIBC_ADDRESSES}s{16 * LIBC_ADDRESSES}s")
SAMPLE_KIND = Struct("=I")
"""What both of these begin with."""
ROW_HEAD = Struct("=II")
"""Layout version and bytes of the whole row: before each that readers.bpf.c writes."""
VERDICT_SETTINGS = Struct("=IHHQ")
VERDICT_KEY = Struct("=QQQQIIIII16sHBB")
VERDICT = Struct("=QIIII")
PASS_KEY = Struct(f"=Q{FLOW_KEY.size}s")
PASS = Struct(f"={IMAGE_KEY.size}sQII")
ANY_ADDRESS, ANY_PORT = 1 << 4, 1 << 5
"""In the family of a key of `VERDICT_KEY`: what it holds for, with 0 in its place."""
PASS_FIRST = 1 << 8
"""In the action of a pass: the kernel has answered for the flow from its first packet on."""
CACHED = Struct(f"=QHH16sIIII16sHBB{IMAGE_KEY.size}sIIII16s")
CACHED_ALIKE = Struct("=IIII16sHBB32sIIII16s")
"""The end of it, behind the destination: the same in all that a program does again and again."""
COUNTER_KEY = Struct("=I")
COUNTER_VALUE = Struct("=Q")

SIZES: dict[str, tuple[int, int]] = {
    "owners": (COOKIE.size, OWNER.size),
    "images": (IMAGE_KEY.size, IMAGE.size),
    "flows": (FLOW_KEY.size, FLOW_VALUE.size),
    "crossings": (CROSSING_KEY.size, CROSSING_VALUE.size),
    "ports": (PORT_KEY.size, PORT_VALUE.size),
    "raw_sockets": (RAW_KEY.size, RAW_VALUE.size),
    "counters": (COUNTER_KEY.size, COUNTER_VALUE.size),
    "opening_config": (OPENING_SLOT.size, OPENING_CONFIG.size),
    "opening_rules": (OPENING_SLOT.size, OPENING_RULE.size),
    "opening_numbers": (OPENING_NUMBER.size, OPENING_SLOT.size),
    "opening_texts": (OPENING_TEXT.size, OPENING_SLOT.size),
    "verdict_config": (OPENING_SLOT.size, VERDICT_SETTINGS.size),
    "verdicts": (VERDICT_KEY.size, VERDICT.size),
    "passes": (PASS_KEY.size, PASS.size),
}
"""Map → bytes of a key and of a value."""

RING_BUFFERS = {
    "releases_fd": "releases",
    "openings_fd": "openings",
    "names_fd": "names",
    "cached_fd": "cached_flows",
}
"""Field of `LoadedPrograms` → the ring buffer whose descriptor it has."""

COUNTERS = (
    *("owners-full", "images-full", "releases-lost", "openings-lost"),
    *("names-lost", "names-unasked", "cached-lost"),
)
"""``enum counter``, by the names of `nfsnitch.core.counters.Counter`."""

COOKIE_KERNEL = 2**64 - 1
"""In place of a cookie: the kernel sends, by no program's socket."""
COOKIE_UNNUMBERED = 2**64 - 2
"""In place of a cookie: a program's socket that has none yet."""

_ANY_ADDRESS = bytes(16)


_USED_NS = Struct("=Q")
"""The part of it that is behind its parent's key."""


class ImageFlag(IntFlag):
    """``enum image_flag``."""

    READY = 1 << 0
    EXE_KNOWN = 1 << 1
    EXE_TRUNCATED = 1 << 2
    EXE_DELETED = 1 << 3
    ARGS_KNOWN = 1 << 4
    ARGS_TRUNCATED = 1 << 5
    CGROUP_KNOWN = 1 << 6
    CGROUP_TRUNCATED = 1 << 7
    TORN = 1 << 8


_WANTED = ImageFlag.READY | ImageFlag.EXE_KNOWN | ImageFlag.ARGS_KNOWN
_SPOILT = ImageFlag.TORN | ImageFlag.EXE_TRUNCATED | ImageFlag.ARGS_TRUNCATED


class OwnerFlag(IntFlag):
    """``enum owner_flag``."""

    USED = 1 << 0
    SHARES_PORT = 1 << 1
    OPENED = 1 << 2


class SampleKind(IntEnum):
    """``enum name_sample_kind``."""

    DNS = 1
    LIBC = 2


class DnsFlag(IntFlag):
    """``enum dns_flag``."""

    RECEIVED = 1 << 0
    CUT = 1 << 1


class ImageKey(NamedTuple):
    """Names one process between two execs."""

    start_ns: int
    exec_id: int
    cgroup_id: int
    pid: int
    """0: no process."""

    @classmethod
    def unpacked(cls, raw: bytes) -> ImageKey:
        """Read ``struct image_key``."""
        start_ns, exec_id, cgroup_id, pid, _ = IMAGE_KEY.unpack(raw)
        return cls(start_ns, exec_id, cgroup_id, pid)

    def is_same_program(self, other: ImageKey) -> bool:
        """Whether both are one process that has not become another program in between."""
        return self._replace(cgroup_id=0) == other._replace(cgroup_id=0)


class Image(NamedTuple):
    """What is the same for all sockets of a process (``struct image``)."""

    parent: bytes
    """The parent's packed key."""
    last_used_ns: int
    flags: ImageFlag
    exe: str | Unknown
    exe_device: int | Unknown
    exe_inode: int | Unknown
    cgroup: str | Unknown
    args: tuple[str, ...] | Unknown
    mntns: int
    """Inode number of the mount namespace that `exe` is a path of; 0: of none."""
    settled: bool
    """It never changes again, but for arguments that may still come to be known."""
    complete: bool
    """The kernel could fill in everything that it is asked for."""

    @classmethod
    def unpacked(cls, raw: bytes) -> Image:
        """Read ``struct image``; what it lacks becomes `Unknown`."""
        parent, used_ns, inode, _, _, device, bits, mntns, _, *texts = IMAGE.unpack(raw)
        exe_at, cgroup_at, args_bytes, _, exe, cgroup, args = texts
        flags = ImageFlag(bits)
        no_exe = Unknown("the process has no executable (a kernel thread, or it was exiting)")
        has_exe = ImageFlag.EXE_KNOWN in flags
        return cls(
            parent,
            used_ns,
            flags,
            _exe_text(flags, exe[exe_at:EXE_BYTES]) if has_exe else no_exe,
            os.makedev(device >> 20, device & 0xFFFFF) if has_exe else no_exe,
            inode if has_exe else no_exe,
            _cgroup_text(flags, cgroup[cgroup_at:CGROUP_BYTES]),
            _args_texts(flags, args[:args_bytes]),
            mntns,
            ImageFlag.READY in flags,
            _WANTED in flags and not flags & _SPOILT,
        )

    @property
    def exe_deleted(self) -> bool:
        """Whether no name leads to the executable any more."""
        return ImageFlag.EXE_DELETED in self.flags


def last_used_ns(raw: bytes) -> int:
    """Return when an image was last used (monotonic), without reading the rest of it."""
    (used_ns,) = _USED_NS.unpack_from(raw, IMAGE_KEY.size)
    return int(used_ns)


class OwnerEntry(NamedTuple):
    """``struct owner``."""

    image_key: bytes
    """Packed."""
    created_ns: int
    """When the socket was first seen, before its first packet."""
    released_ns: int
    """0 while the socket is open."""
    tid: int
    uid: int
    gid: int
    netns: int
    flags: int
    """Of `OwnerFlag`."""
    comm: bytes
    opener: bytes
    """Packed key of the image of the process that made the socket; of pid 0: not known."""

    @classmethod
    def unpacked(cls, raw: bytes) -> OwnerEntry:
        """Read ``struct owner``."""
        *fields, _, comm, opener = OWNER.unpack(raw)
        return cls._make([*fields, comm, opener])


_CREATED, _FLAGS, _COMM = 1, 7, 9
"""Places in `OWNER`."""


def is_released(raw: bytes) -> bool:
    """Whether the socket of a ``struct owner`` has been closed."""
    return bool(OwnerEntry.unpacked(raw).released_ns)


def with_history(raw: bytes, earlier: bytes) -> bytes:
    """Return the ``struct owner`` *raw*, as old as *earlier* is and with its flags, too.

    What comes behind the name of the user's program is about how the socket came to be, and so
    is the earlier one's.
    """
    fields, before = list(OWNER.unpack(raw)), OWNER.unpack(earlier)
    fields[_CREATED] = min(fields[_CREATED], before[_CREATED])
    fields[_FLAGS] |= before[_FLAGS]
    return OWNER.pack(*fields[: _COMM + 1], *before[_COMM + 1 :])


class FlowClaim(NamedTuple):
    """Who sends with a tuple (``struct flow_value``)."""

    cookie: int
    since_ns: int
    """Monotonic; when `cookie` took over."""
    previous_ns: int
    """Monotonic; when one of those before was there last. 0: never."""
    previous: tuple[int, ...]
    """The cookies of those before, latest first."""

    @classmethod
    def unpacked(cls, raw: bytes) -> FlowClaim:
        """Read ``struct flow_value``."""
        cookie, since_ns, _, previous_ns, *previous = FLOW_VALUE.unpack(raw)
        return cls(cookie, since_ns, previous_ns, tuple(each for each in previous if each))


class Crossing(NamedTuple):
    """Who sends with a tuple out of another network namespace (``struct crossing_value``)."""

    claim: FlowClaim
    last_ns: int
    """Monotonic; when a packet crossed last."""
    inode: int
    """Of the socket, as /proc/PID/fd names it; 0: no file descriptor leads to it."""

    @classmethod
    def unpacked(cls, raw: bytes) -> Crossing:
        """Read ``struct crossing_value``."""
        claim, inode = CROSSING_VALUE.unpack(raw)
        _, _, last_ns, *_ = FLOW_VALUE.unpack(claim)
        return cls(FlowClaim.unpacked(claim), last_ns, inode)


def flow_key(netns_cookie: int, flow: Flow, *, any_saddr: bool = False) -> bytes:
    """Return the key of *flow* in the map ``flows``; its ports must be known."""
    return FLOW_KEY.pack(
        netns_cookie,
        _ANY_ADDRESS if any_saddr else flow.saddr,
        flow.daddr,
        flow.sport,
        flow.dport,
        flow.family,
        flow.proto,
        0,
    )


def packet_key(netns_cookie: int, flow: Flow) -> bytes:
    """Return the key under which the probe on the queue writes whose packet of *flow* it was."""
    sport = flow.icmp.identifier if flow.icmp else flow.sport
    ports = [0 if isinstance(port, Unknown) else port for port in (sport, flow.dport)]
    numbers = (*ports, flow.family, flow.proto, 0)
    return FLOW_KEY.pack(netns_cookie, flow.saddr, flow.daddr, *numbers)


def crossing_key(netns_cookie: int, flow: Flow, ifindex: int) -> bytes:
    """Return the key of *flow* where it came to a namespace, by the interface *ifindex* there."""
    return CROSSING_KEY.pack(packet_key(netns_cookie, flow), ifindex, 0)


def crossing_source(key: bytes) -> tuple[bytes, bytes, bytes]:
    """Return what in a key of `crossing_key` does not name the destination."""
    return key[:24], key[40:42], key[44:]


def port_key(netns_cookie: int, proto: int, sport: int) -> bytes:
    """Return the key of a local port in the map ``ports``."""
    return PORT_KEY.pack(netns_cookie, sport, proto, 0)


def raw_key(netns_cookie: int, proto: int) -> bytes:
    """Return the key of a protocol in the map ``raw_sockets``."""
    return RAW_KEY.pack(netns_cookie, proto, 0)


def _exe_text(flags: ImageFlag, raw: bytes) -> str | Unknown:
    if ImageFlag.TORN in flags:
        return Unknown("the process was replacing itself (exec) while it was looked at")
    if ImageFlag.EXE_TRUNCATED in flags:
        return Unknown(f"the path is longer than {EXE_BYTES} bytes")
    return decoded(raw)


def _cgroup_text(flags: ImageFlag, raw: bytes) -> str | Unknown:
    if ImageFlag.CGROUP_KNOWN not in flags:
        return Unknown("the process is in no cgroup v2")
    if ImageFlag.CGROUP_TRUNCATED in flags:
        return Unknown(f"the path is longer than {CGROUP_BYTES} bytes")
    return decoded(raw) or "/"


def _args_texts(flags: ImageFlag, raw: bytes) -> tuple[str, ...] | Unknown:
    if ImageFlag.ARGS_KNOWN not in flags:
        return Unknown("the arguments could not be read in the kernel")
    if ImageFlag.ARGS_TRUNCATED in flags:
        # A rule on their first part alone could be evaded by padding.
        return Unknown(f"the arguments are longer than {ARGS_BYTES} bytes")
    return split_args(raw)


def split_args(raw: bytes) -> tuple[str, ...]:
    """Return the arguments in *raw*, where each is ended by a NUL, as in /proc/PID/cmdline."""
    return tuple(decoded(each) for each in raw.removesuffix(b"\0").split(b"\0")) if raw else ()
