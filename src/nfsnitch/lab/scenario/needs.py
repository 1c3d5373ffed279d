"""What a scenario needs of a machine, and whether this one has it."""

from __future__ import annotations

import functools
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from nfsnitch.adapters.bpf.modes import available_modes
from nfsnitch.core.attach import AttachMode
from nfsnitch.lab.firewall import ATTACH_VARIABLE
from nfsnitch.lab.scenario.model import Scenario
from nfsnitch.lab.scenario.network import lacking
from nfsnitch.lab.scenario.wiring import needs_of
from nfsnitch.resources import bpf_object

OWN_MACHINE_VARIABLE = "NFSNITCH_LAB_OWN_MACHINE"
"""Environment variable: the machine is there for the lab alone, as a guest for tests is."""
_GUEST_VARIABLE = "NFSNITCH_GUEST_MODE"
"""Is set in the guests of this project's own tests."""
_IPPROTO_SCTP = 132
_ACCOUNTING = Path("/proc/sys/net/netfilter/nf_conntrack_acct")
_TIMEOUT_S = 60


def missing(scenario: Scenario, attach: AttachMode | None = None) -> str | None:
    """Return why *scenario* cannot be played here; None if it can."""
    for need in (*scenario.needs, *needs_of(scenario.network)):
        if need == "probes":
            why = _probes(attach)
        else:
            why = _PROBES[need]() if need in _PROBES else lacking(need)
        if why is not None:
            return f"needs {need}: {why}"
    return None


def _own_machine() -> str | None:
    if any(os.environ.get(name) for name in (OWN_MACHINE_VARIABLE, _GUEST_VARIABLE)):
        return None
    return f"this machine is not the lab's alone ({OWN_MACHINE_VARIABLE}=1 says that it is)"


def _sctp() -> str | None:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, _IPPROTO_SCTP).close()
    except OSError as error:
        return f"the kernel has no SCTP ({error.strerror})"
    return None


def _accounting() -> str | None:
    return None if _ACCOUNTING.exists() else f"there is no {_ACCOUNTING}"


@functools.cache
def _nft_queue() -> str | None:
    text = "add table inet t; add chain inet t c; add rule inet t c queue num 1"
    # In a namespace of its own, that is gone with it.
    done = subprocess.run(
        ["unshare", "--net", "nft", "--check", text],  # noqa: S607  found by PATH as a person would
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    return None if done.returncode == 0 else "the kernel has no nft queue expression"


@functools.cache
def _probes(attach: AttachMode | None) -> str | None:
    wanted = attach or AttachMode(os.environ.get(ATTACH_VARIABLE) or AttachMode.AUTO)
    if wanted is AttachMode.CGROUP:
        return "the firewall is told to attach to cgroups alone"
    if wanted in {AttachMode.LSM, AttachMode.KPROBE}:
        return None
    refused = available_modes(bpf_object())
    if any(refused[mode] is None for mode in (AttachMode.LSM, AttachMode.KPROBE)):
        return None
    return f"attach mode kprobe cannot be had: {refused[AttachMode.KPROBE]}"


_PROBES: dict[str, Callable[[], str | None]] = {
    "own-machine": _own_machine,
    "nft-queue": _nft_queue,
    "sctp": _sctp,
    "conntrack-accounting": _accounting,
}
