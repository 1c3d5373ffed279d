"""The attach mode that the lab's firewalls take here, where a test gives them none."""

from __future__ import annotations

import os
from functools import cache

from nfsnitch.adapters.bpf.modes import available_modes
from nfsnitch.core.attach import AttachMode
from nfsnitch.lab.firewall import ATTACH_VARIABLE
from nfsnitch.resources import bpf_object


@cache
def refusals() -> dict[AttachMode, str | None]:
    """Return why each mode cannot be had on this kernel, best mode first; None: it can."""
    return available_modes(bpf_object())


@cache
def present_mode() -> AttachMode:
    """Return what the environment asks for, else the best that can be had."""
    asked = AttachMode(os.environ.get(ATTACH_VARIABLE) or AttachMode.AUTO)
    if asked is not AttachMode.AUTO:
        return asked
    return next(mode for mode, why_not in refusals().items() if why_not is None)


def sees_packets() -> bool:
    """Whether a probe on the queue says whose each packet is."""
    return present_mode() is not AttachMode.CGROUP


def by_probe_or(otherwise: str) -> str:
    """Return the attribution to be expected where `cgroup` mode's would be *otherwise*."""
    return "queue-probe" if sees_packets() else otherwise
