"""Runs a command in a guest and shows what it says: scripts/vm is the way in."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from vm.guest import Guest
from vm.kernels import LINES, Kernel, NoKernelError


def main() -> int:
    """Return the command's exit status, or 125 if there was none."""
    parser = argparse.ArgumentParser(
        prog="scripts/vm",
        description="Run a command as root on another kernel; it can read this machine's files.",
    )
    parser.add_argument("--cpus", type=int, default=1, help="processors of the guest (1)")
    parser.add_argument("--timeout", type=float, default=3600, help="seconds (3600)")
    parser.add_argument("kernel", choices=LINES)
    parser.add_argument("command", nargs="+", help="after --")
    wanted = parser.parse_args()
    try:
        kernel = Kernel.of(wanted.kernel)
    except NoKernelError as error:
        parser.error(str(error))
    with (
        tempfile.TemporaryDirectory(prefix="nfsnitch-vm-") as folder,
        Guest(kernel, Path(folder), wanted.command, cpus=wanted.cpus) as guest,
    ):
        return _follow(guest, time.monotonic() + wanted.timeout)


def _follow(guest: Guest, end: float) -> int:
    shown = 0
    while True:
        is_over = guest.wait(0.5) or time.monotonic() > end
        said = guest.output.read_bytes() if guest.output.exists() else b""
        sys.stdout.buffer.write(said[shown:])
        sys.stdout.buffer.flush()
        shown = len(said)
        if is_over:
            break
    if guest.status is None:
        sys.stderr.write(f"{guest.console_tail()}\nscripts/vm: the guest did not finish\n")
        return 125
    return guest.status


if __name__ == "__main__":
    sys.exit(main())
