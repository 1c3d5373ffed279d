"""Has the kernel tried out (`kernel_probe`) by another process, which cannot hold us up."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

import nfsnitch
from nfsnitch.adapters import cgroups
from nfsnitch.adapters.answer import Answer, State

TIMEOUT_S = 60.0
"""For each answer: loading eBPF programs under an emulator takes many seconds."""
_READ_BYTES = 65_536


class Answers(NamedTuple):
    """What the other process found."""

    by_name: dict[str, Answer]
    problem: str
    """Why an answer is missing, if one is."""


def ask(timeout_s: float = TIMEOUT_S, module: str = "nfsnitch.adapters.kernel_probe") -> Answers:
    """Run the probes of *module*; it is ended when no answer has come for *timeout_s*."""
    with tempfile.TemporaryFile() as errors:
        popen = subprocess.Popen(
            [sys.executable, "-P", "-m", module],  # -P: nothing in the working directory is run
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "PYTHONPATH": str(Path(nfsnitch.__file__).absolute().parents[1])},
        )
        with popen:
            said = _read(popen, timeout_s)
            if not said.in_time:
                popen.kill()
        problem = _last_line(errors) or "it was not tried"
    if not said.in_time:
        problem = f"the kernel did not answer within {timeout_s:g} s"
    with suppress(OSError):
        cgroups.remove(own_cgroup(popen.pid))
    answers = {}
    for line in said.text.splitlines():
        name, state, detail, more = json.loads(line)
        answers[name] = Answer(State(state), detail, more)
    return Answers(answers, problem)


class _Said(NamedTuple):
    text: bytes
    """Whole lines."""
    in_time: bool


def _read(popen: subprocess.Popen[bytes], timeout_s: float) -> _Said:
    """Return what the process says until its end, or until it is silent for *timeout_s*."""
    if popen.stdout is None:
        raise ValueError("its output has to be a pipe")
    poll, text = select.poll(), b""
    poll.register(popen.stdout, select.POLLIN)
    while poll.poll(timeout_s * 1000):
        some = os.read(popen.stdout.fileno(), _READ_BYTES)
        if not some:
            return _Said(text, in_time=True)
        text += some
    return _Said(text[: text.rfind(b"\n") + 1], in_time=False)


def _last_line(errors: IO[bytes]) -> str:
    errors.seek(0)
    words = errors.read().decode("utf-8", "backslashreplace").strip().splitlines()
    return words[-1] if words else ""


def own_cgroup(pid: int) -> Path:
    """Return the cgroup that the probing process *pid* makes for itself."""
    return cgroups.v2_root() / f"nfsnitch-doctor-{pid}"
