"""What the daemon may cost: time to start, and memory."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from builders import WriteRules
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.programs import build_program, swarm
from nfsnitch.lab.services import SINK_PORT
from nfsnitch.lab.world import World

pytestmark = [
    pytest.mark.undisturbed,
    pytest.mark.root,
    pytest.mark.netns,
    pytest.mark.bpf,
    pytest.mark.slow,
]

ALLOW = "default: deny\nrules: [{name: everything, action: allow}]\n"
START_S = 1.0
PACKAGES = "import asyncio, ctypes, netfilterqueue, re2, yaml"
PACKAGES_S = 0.125
"""What an interpreter needs to import `PACKAGES` where the budget was set, with nothing else to do.

Elsewhere, or with other work beside it, a start may take longer by as much as this does.
"""
MEMORY_KB = 40 * 1024
STARTS = 5
PROCESSES = 5_000


def resident_kb(pid: int) -> int:
    """Return how much memory a process has in use now (proc_pid_smaps(5), Rss).

    Without what it has mapped of eBPF's maps: that is the kernel's, of a fixed size and counted
    apart (`make bench`), and ring buffers are mapped twice in a row.
    """
    used_kb, is_map = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text("utf-8", "replace").splitlines():
        name, _, value = line.partition(":")
        if name == "Rss":
            used_kb += 0 if is_map else int(value.split()[0])
        elif " " in name:  # a mapping begins: addresses, rights, place
            is_map = line.endswith("anon_inode:bpf-map")
    return used_kb


def processor_s(pid: int) -> float:
    """Return how long a process has kept the processor busy (proc_pid_stat(5), utime and stime)."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    utime, stime = stat.rpartition(")")[2].split()[11:13]
    return (int(utime) + int(stime)) / os.sysconf("SC_CLK_TCK")


def imports_s() -> float:
    """Return how long an interpreter keeps the processor busy that imports `PACKAGES`, now."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run((sys.executable, "-c", PACKAGES), check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_from_its_start_until_it_enforces_takes_less_than_a_second(
    world: World, rules: WriteRules
) -> None:
    file = rules(ALLOW)
    used_s: list[float] = []
    bare_s: list[float] = []
    for _ in range(STARTS):
        bare_s.append(imports_s())
        with Firewall(world, [file]) as firewall:
            used_s.append(processor_s(firewall.child.pid))

    # It waits for nothing, so that on an idle machine this is the time it takes.
    slower = max(1.0, min(bare_s) / PACKAGES_S)
    assert min(used_s) < START_S * slower, (used_s, bare_s)


@pytest.mark.usefixtures("services")
def test_after_thousands_of_short_lived_processes_it_still_fits_into_40_mb(
    world: World, rules: WriteRules
) -> None:
    own = world.own_copy(build_program("one_datagram"), "short-lived")
    with Firewall(world, [rules(ALLOW)]) as firewall:
        swarm(world, PROCESSES, own, "192.0.2.1", str(SINK_PORT))
        firewall.wait_for_records(having(proto="udp"), PROCESSES, timeout_s=60)
        used_kb = resident_kb(firewall.child.pid)

    assert used_kb < MEMORY_KB
