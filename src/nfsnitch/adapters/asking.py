"""Has the kernel tried out (`kernel_probe`) by another process, which cannot hold us up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import nfsnitch
from nfsnitch.adapters import cgroups
from nfsnitch.adapters.answer import Answer, State

TIMEOUT_S = 60.0
"""Loading eBPF programs under an emulator takes many seconds."""


class Answers(NamedTuple):
    """What the other process found."""

    by_name: dict[str, Answer]
    problem: str
    """Why an answer is missing, if one is."""


def ask(timeout_s: float = TIMEOUT_S, module: str = "nfsnitch.adapters.kernel_probe") -> Answers:
    """Run the probes of *module*; what is not done after *timeout_s* has no answer."""
    popen = subprocess.Popen(
        [sys.executable, "-P", "-m", module],  # -P: nothing in the working directory is run
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(nfsnitch.__file__).absolute().parents[1])},
    )
    with popen:
        try:
            said, errors = popen.communicate(timeout=timeout_s)
            words = errors.decode("utf-8", "backslashreplace").strip().splitlines()
            problem = words[-1] if words else "it was not tried"
        except subprocess.TimeoutExpired:
            popen.kill()
            said, _ = popen.communicate()
            problem = f"the kernel did not answer within {timeout_s:g} s"
    with suppress(OSError):
        cgroups.remove(own_cgroup(popen.pid))
    answers = {}
    for line in said.splitlines():
        name, state, detail, more = json.loads(line)
        answers[name] = Answer(State(state), detail, more)
    return Answers(answers, problem)


def own_cgroup(pid: int) -> Path:
    """Return the cgroup that the probing process *pid* makes for itself."""
    return cgroups.v2_root() / f"nfsnitch-doctor-{pid}"
