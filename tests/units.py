"""What the systemd units say, and the same confinement without systemd."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "systemd"
UNITS = ("nfsnitch.service", "nfsnitch-early.service")
_NUMBERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
_DEFINITION = re.compile(r"#define __NR(?:3264)?_(\w+)\s+(\d+)")

# Runs what follows its first argument, a JSON list of the system calls allowed. The filter is made
# as systemd makes it, but what is not allowed ends the process, so that nobody overlooks it.
_LAUNCHER = """
import ctypes, json, os, struct, sys
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, KILL_PROCESS = 0x7FFF0000, 0x80000000
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, PR_SET_MDWE = 38, 22, 65
lines = [(LOAD, 0, 0, 0)]
for number in json.loads(sys.argv[1]):
    lines += [(JUMP_IF_EQUAL, 0, 1, number), (RETURN, 0, 0, ALLOW)]
lines += [(RETURN, 0, 0, KILL_PROCESS)]
program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in lines))
header = struct.pack("@HP", len(lines), ctypes.addressof(program))
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(PR_SET_MDWE, ctypes.c_ulong(1), 0, 0, 0)  # Linux 6.3: no memory both written and run
assert libc.prctl(PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), 0, 0, 0) == 0
assert libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(2), header, 0, 0) == 0, ctypes.get_errno()
os.execvp(sys.argv[2], sys.argv[2:])
"""


def settings(unit: str, name: str) -> list[str]:
    """Return the words of all lines ``NAME=…`` of a unit."""
    lines = (FOLDER / unit).read_text("utf-8").splitlines()
    return [word for line in lines if line.startswith(f"{name}=") for word in value(line).split()]


def value(line: str) -> str:
    """Return what stands behind the equals sign."""
    return line.partition("=")[2]


def allowed_system_calls(unit: str) -> set[str]:
    """Return the system calls that the unit's filter lets through, groups written out."""
    allowed: set[str] = set()
    for word in settings(unit, "SystemCallFilter"):
        if word.startswith("~"):
            break
        allowed |= set(_members(word))
    denied = "".join(
        line for line in (FOLDER / unit).read_text("utf-8").splitlines() if "Filter=~" in line
    )
    return allowed - set(value(denied).removeprefix("~").split())


def _members(word: str) -> Iterator[str]:
    if not word.startswith("@"):
        yield word
        return
    listed = subprocess.run(
        ["systemd-analyze", "--no-pager", "syscall-filter", word],  # noqa: S607
        capture_output=True,
        text=True,
        check=True,
    )
    for line in listed.stdout.splitlines()[1:]:
        if line.strip() and not line.strip().startswith("#"):
            yield from _members(line.strip())


def confined(unit: str, argv: tuple[str, ...]) -> tuple[str, ...]:
    """Return the command line of a program under the unit's limits on it and its system calls."""
    definitions = _DEFINITION.findall(_NUMBERS[platform.machine()].read_text("ascii"))
    allowed = allowed_system_calls(unit)
    numbers = sorted({int(number) for name, number in definitions if name in allowed})
    names = [name.removeprefix("CAP_").lower() for name in settings(unit, "CapabilityBoundingSet")]
    bounding = ",".join(["-all", *(f"+{name}" for name in names)])
    return (
        *("setpriv", f"--bounding-set={bounding}", "--no-new-privs"),
        *(sys.executable, "-I", "-S", "-c", _LAUNCHER, json.dumps(numbers), *argv),
    )
