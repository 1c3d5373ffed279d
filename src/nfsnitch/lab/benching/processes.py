"""What the kernel says of processes: processor time, memory, queued packets, datagrams."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_KIB = 1024
_SEQUENCE_FIELD = 7
"""Of a line in nfnetlink_queue: the number of the last packet (seq_show)."""


def with_descendants(pid: int) -> list[int]:
    """Return the process and all that it has started, and so on.

    By /proc/PID/task/TID/children; a kernel without CONFIG_PROC_CHILDREN tells of none.
    """
    found = [pid]
    for each in found:
        for task in _tasks(each):
            with suppress(OSError):
                found += map(int, (task / "children").read_text("ascii").split())
    return found


def processor_s(pids: Sequence[int]) -> float:
    """Return for how long these processes have run, in the kernel and outside (proc(5)).

    In ns by schedstat of each thread; where there is none, by utime and stime, in ticks.
    """
    return sum(map(_processor_s, pids))


def _processor_s(pid: int) -> float:
    try:
        times = [(task / "schedstat").read_text("ascii") for task in _tasks(pid)]
    except OSError:
        stat = (_PROC / str(pid) / "stat").read_text("utf-8", "replace")
        utime, stime = stat.rpartition(")")[2].split()[11:13]
        return (int(utime) + int(stime)) / os.sysconf("SC_CLK_TCK")
    return sum(int(text.split()[0]) for text in times) / 1e9


def wake_ups(pids: Sequence[int]) -> int:
    """Return how often threads of these processes have gone to sleep of their own accord."""
    return sum(_wake_ups(task) for pid in pids for task in _tasks(pid))


def _wake_ups(task: Path) -> int:
    """Return how often a thread has; one that has ended since it was listed does not count."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for name, value in _lines(task / "status"):
            if name == "voluntary_ctxt_switches":
                return int(value)
    return 0


def pss_bytes(pids: Sequence[int]) -> int:
    """Return the memory of these processes, what is shared by its share (smaps_rollup, Pss)."""
    return _KIB * sum(
        int(value.split()[0])
        for pid in pids
        for name, value in _lines(_PROC / str(pid) / "smaps_rollup")
        if name == "Pss"
    )


def map_bytes(pids: Sequence[int]) -> int:
    """Return the kernel's memory of the BPF maps that these processes have open (fdinfo, memlock).

    Each map counts once.
    """
    sizes: dict[str, int] = {}
    for pid in pids:
        for info in (_PROC / str(pid) / "fdinfo").iterdir():
            with suppress(OSError):  # closed meanwhile
                fields = dict(_lines(info))
                if "map_id" in fields:
                    sizes[fields["map_id"]] = int(fields["memlock"])
    return sum(sizes.values())


def queued(pid: int, queue_num: int) -> int:
    """Return how many packets have been queued, in the namespace of that process.

    0 if the queue is not there.
    """
    path = _PROC / str(pid) / "net" / "netfilter" / "nfnetlink_queue"
    with suppress(FileNotFoundError):
        for line in path.read_text("ascii").splitlines():
            fields = line.split()
            if int(fields[0]) == queue_num:
                return int(fields[_SEQUENCE_FIELD])
    return 0


def datagrams_read(pid: int) -> int:
    """Return how many UDP datagrams have been handed to programs, in that process's namespace."""
    lines = (_PROC / str(pid) / "net" / "snmp").read_text("ascii").splitlines()
    names, values = (line.split() for line in lines if line.startswith("Udp:"))
    return int(values[names.index("InDatagrams")])


def _tasks(pid: int) -> list[Path]:
    return list((_PROC / str(pid) / "task").iterdir())


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    for line in path.read_text("utf-8", "replace").splitlines():
        name, colon, value = line.partition(":")
        if colon:
            yield name, value.strip()
