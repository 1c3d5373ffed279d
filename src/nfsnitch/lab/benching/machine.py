"""On what something was measured, as far as it matters; no name of the machine."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path

from nfsnitch.lab.benching import streams

_GIB = 1 << 30


def described(*, emulated: bool) -> dict[str, str | int | bool]:
    """Return kernel, processors, memory and versions of this machine."""
    return {
        "kernel": _kernel(),
        "processor": _processor(),
        "processors": os.cpu_count() or 0,
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / _GIB),
        "python": platform.python_version(),
        "streams_by": streams.tool(),
        "emulated": emulated,
    }


def key(machine: Mapping[str, object]) -> str:
    """Return by what a machine's figures are kept beside those of others: ``linux-6.12``."""
    line = ".".join(str(machine["kernel"]).split(".")[:2])
    return f"linux-{line}{'-emulated' if machine['emulated'] else ''}"


def is_emulated(sys_root: Path = Path("/sys")) -> bool:
    """Whether qemu emulates the processor; by KVM it would offer a clock of its own (x86)."""
    vendor = sys_root / "class/dmi/id/sys_vendor"
    clocks = sys_root / "devices/system/clocksource/clocksource0/available_clocksource"
    if not vendor.exists() or not clocks.exists():
        return False
    return vendor.read_text().strip() == "QEMU" and "kvm-clock" not in clocks.read_text().split()


def _kernel() -> str:
    # What stands behind the version is whoever built it.
    found = re.match(r"\d+(\.\d+)*", platform.release())
    return found[0] if found else platform.release()


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
