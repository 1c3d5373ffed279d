"""Processes and sockets as /proc tells them (``proc(5)``): slow, and after the fact."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from nfsnitch.adapters import mounts
from nfsnitch.adapters.bpf.layout import split_args
from nfsnitch.core.flow import Family, Protocol
from nfsnitch.core.owner import Ancestor, Executable, Process
from nfsnitch.core.text import decoded
from nfsnitch.core.unknown import Unknown

PROC = Path("/proc")
MAX_ANCESTORS = 16
_ARGS_BYTES = 65_536
_NS_PER_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_DELETED = b" (deleted)"
_IPPROTO_RAW = 255
_NO_OPENER = Unknown("/proc does not tell who opened it")

_TABLES: dict[tuple[Family, int], tuple[str, ...]] = {
    (Family.IPV4, Protocol.ICMP): ("icmp", "raw"),
    (Family.IPV6, Protocol.ICMPV6): ("icmp6", "raw6"),
}
_RAW_TABLE = {Family.IPV4: "raw", Family.IPV6: "raw6"}


class Stat(NamedTuple):
    """The fields of /proc/PID/stat that are used."""

    parent_pid: int
    start_time_ns: int
    """In steps of a clock tick, that is 10 ms."""


def stat(pid: int) -> Stat | None:
    """Return what /proc/PID/stat says; None if there is no such process."""
    try:
        raw = (PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The name in parentheses may itself have any character, parentheses and spaces among them.
    fields = raw[raw.rindex(b")") + 2 :].split()
    return Stat(parent_pid=int(fields[1]), start_time_ns=int(fields[19]) * _NS_PER_TICK)


def is_same_start(kernel_ns: int, proc_ns: int) -> bool:
    """Whether a start time of the kernel's and one of /proc's (cut to ticks) are the same."""
    return kernel_ns // _NS_PER_TICK == proc_ns // _NS_PER_TICK


def is_running(process: Process) -> bool:
    """Whether this very process is there still, and no other one with its pid."""
    found = stat(process.pid)
    return found is not None and is_same_start(process.start_time_ns, found.start_time_ns)


def executable(pid: int) -> Executable:
    """Return the program that a process runs."""
    link = PROC / str(pid) / "exe"
    try:
        target = os.readlink(bytes(link))  # noqa: PTH115  Path has no way to get bytes
        file = link.stat()
    except OSError as problem:
        unknown = Unknown(f"/proc/{pid}/exe: {problem.strerror}")
        return Executable(unknown, unknown, unknown)
    here = _is_file(target, file)
    deleted = target.endswith(_DELETED) and not here
    path = decoded(target.removesuffix(_DELETED) if deleted else target)
    if here:
        return Executable(path, file.st_dev, file.st_ino)
    # In a mount namespace of one's own, which takes no privilege, any file can have any name.
    other = Unknown(f"it is {path}, which is {'deleted' if deleted else 'another file here'}")
    return Executable(other, file.st_dev, file.st_ino, deleted)


def _is_file(path: bytes, file: os.stat_result) -> bool:
    there = mounts.of_the_rules().file_at(path)
    return there is not None and os.path.samestat(there, file)


def arguments(pid: int) -> tuple[str, ...] | Unknown:
    """Return a process's arguments, all of them or none."""
    try:
        with (PROC / str(pid) / "cmdline").open("rb") as file:
            raw = file.read(_ARGS_BYTES + 1)
    except OSError as problem:
        return Unknown(f"/proc/{pid}/cmdline: {problem.strerror}")
    if len(raw) > _ARGS_BYTES:
        return Unknown(f"the arguments are longer than {_ARGS_BYTES} bytes")
    return split_args(raw)


def process(pid: int) -> Process | Unknown:
    """Return a process with all that /proc knows of it."""
    begin = stat(pid)
    if begin is None:
        return Unknown(f"process {pid} is gone")
    try:
        status = _status(pid)
        comm = decoded((PROC / str(pid) / "comm").read_bytes().removesuffix(b"\n"))
        netns = (PROC / str(pid) / "ns" / "net").stat().st_ino
    except (OSError, LookupError, ValueError):
        return Unknown(f"process {pid} went while it was looked at")
    found = Process(
        pid=pid,
        tid=pid,
        start_time_ns=begin.start_time_ns,
        uid=int(status[b"Uid"][3]),
        gid=int(status[b"Gid"][3]),
        exe=executable(pid),
        args=arguments(pid),
        comm=comm,
        parents=ancestors(begin.parent_pid),
        cgroup_id=Unknown("/proc does not tell it"),
        cgroup=cgroup(pid),
        netns=netns,
        opener=_NO_OPENER,
    )
    if stat(pid) != begin:  # the pid has been given to another one meanwhile
        return Unknown(f"process {pid} went while it was looked at")
    return found


def ancestors(pid: int) -> tuple[Ancestor, ...]:
    """Return the process *pid* and those above it, nearest first."""
    chain: list[Ancestor] = []
    while pid > 0 and len(chain) < MAX_ANCESTORS:
        found = stat(pid)
        if found is None:
            break
        chain.append(Ancestor(pid, found.start_time_ns, executable(pid)))
        pid = found.parent_pid
    return tuple(chain)


def cgroup(pid: int) -> str | Unknown:
    """Return the process's place in the cgroup v2 hierarchy."""
    with suppress(OSError):
        # Not splitlines: a cgroup's name may have a carriage return.
        for line in (PROC / str(pid) / "cgroup").read_bytes().split(b"\n"):
            if line.startswith(b"0::"):
                return decoded(line[3:])
    return Unknown("the process is in no cgroup v2, or gone")


def raw_socket_inodes(family: Family, proto: int, identifier: int | Unknown) -> list[int]:
    """Return the inodes of the ping and raw sockets that could have sent such a packet.

    A ping socket sends its own identifier alone; a raw one sends its protocol, or, if that is
    IPPROTO_RAW, whatever it likes.
    """
    found: list[int] = []
    for table in _TABLES.get((family, proto), (_RAW_TABLE[family],)):
        wanted = {identifier} if table.startswith("icmp") else {proto, _IPPROTO_RAW}
        found += [inode for number, inode in _socket_table(table) if number in wanted]
    return found


def sctp_socket_inodes(port: int | Unknown) -> list[int]:
    """Return the inodes of the SCTP sockets with this local port."""
    with suppress(OSError):
        # After a heading: ENDPT SOCK STY SST HBKT LPORT UID INODE LADDRS.
        lines = (PROC / "thread-self" / "net" / "sctp" / "eps").read_bytes().splitlines()[1:]
        fields = [line.split() for line in lines]
        return [int(each[7]) for each in fields if int(each[5]) == port]
    return []


def holders(inodes: Collection[int]) -> list[int]:
    """Return the pids of all processes that hold a socket with one of these inodes, ascending."""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    return sorted(pid for pid in _pids() if not wanted.isdisjoint(_links(pid))) if wanted else []


def each_holder(inodes: Collection[int]) -> Iterator[tuple[int, int]]:
    """Yield (inode, pid) of all who hold any of these sockets; (0, 0) after each process."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    for pid in _pids():
        for inode in {found for found in map(wanted.get, _links(pid)) if found is not None}:
            yield inode, pid
        yield 0, 0


def _links(pid: int) -> Iterator[str]:
    """Yield what the descriptors of a process lead to."""
    # /proc/PID/fd is the first thread's alone: it may have ended, or a thread have its own files.
    for tid in _names(f"{PROC}/{pid}/task"):
        folder = f"{PROC}/{pid}/task/{tid}/fd"
        for name in _names(folder):
            with suppress(OSError):
                yield os.readlink(f"{folder}/{name}")  # noqa: PTH115  see `_names`


def _names(folder: str) -> list[str]:
    with suppress(OSError):
        return os.listdir(folder)  # noqa: PTH208  a Path for each of 10,000s of names is dear
    return []


def _pids() -> Iterator[int]:
    for name in os.listdir(PROC):  # noqa: PTH208
        if name.isdecimal():
            yield int(name)


def _status(pid: int) -> dict[bytes, list[bytes]]:
    lines = (PROC / str(pid) / "status").read_bytes().split(b"\n")
    pairs = (line.partition(b":") for line in lines)
    return {key: value.split() for key, _, value in pairs}


def _socket_table(name: str) -> Iterator[tuple[int, int]]:
    """Yield (local port or protocol or identifier, inode) of /proc/net/*NAME*'s sockets."""
    with suppress(OSError), (PROC / "thread-self" / "net" / name).open("rb") as table:
        next(table, None)
        for line in table:
            fields = line.split()
            yield int(fields[1].rpartition(b":")[2], 16), int(fields[9])
