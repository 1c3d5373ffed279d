"""Who may have kernel probes: they are perf events (``perf_event_open(2)``)."""

from __future__ import annotations

from pathlib import Path

_PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")
_FOR_NOBODY = 3


def probes_are_for() -> str:
    """Say whom Debian lets have kernel probes, if not everybody who may have eBPF programs.

    Its kernels know a third level of kernel.perf_event_paranoid, which wants more than CAP_PERFMON.
    """
    try:
        level = int(_PARANOID.read_text("ascii"))
    except (OSError, ValueError):
        return ""
    if level < _FOR_NOBODY:
        return ""
    return f" (kernel.perf_event_paranoid = {level}: set it to 2, or start with CAP_SYS_ADMIN)"
