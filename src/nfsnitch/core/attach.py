"""Where in the kernel the eBPF programs sit."""

from __future__ import annotations

from enum import StrEnum


class AttachMode(StrEnum):
    """The values of ``--attach``; ADR 7 says what each can see."""

    AUTO = "auto"
    """The best of the others that the kernel allows."""
    LSM = "lsm"
    """LSM hooks on the system calls, and a probe on the packet's way into the queue."""
    KPROBE = "kprobe"
    """Kprobes on the protocols' functions, and on the packet's way into the queue."""
    CGROUP = "cgroup"
    """Hooks of a cgroup; the packet is joined to its socket by its tuple."""


BEST_FIRST = (AttachMode.LSM, AttachMode.KPROBE, AttachMode.CGROUP)
"""The order in which `AttachMode.AUTO` tries them."""
