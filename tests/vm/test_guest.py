"""A guest itself: what its command says and how it ends, whichever way that is."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vm.guest import Guest
from vm.kernels import Kernel

pytestmark = [
    pytest.mark.vm,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("vm-6.12"),
]
BOOT_TIMEOUT_S = 500
"""Emulated, on a busy machine."""
TESTS = Path(__file__).parents[1]


def test_a_command_in_a_guest_runs_on_that_kernel_and_its_output_and_status_come_back(
    tmp_path: Path,
) -> None:
    kernel = Kernel.of("6.12")
    with Guest(kernel, tmp_path, ["sh", "-c", "uname -r; exit 7"]) as guest:
        is_over = guest.wait(BOOT_TIMEOUT_S)

    assert is_over, guest.console_tail()
    assert guest.output.read_text(encoding="utf-8") == f"{kernel.version}\n"
    assert guest.status == 7


def test_a_guest_that_panics_has_no_status_and_its_console_says_why(tmp_path: Path) -> None:
    panic = ["sh", "-c", "echo c >/proc/sysrq-trigger"]
    with Guest(Kernel.of("6.12"), tmp_path, panic) as guest:
        is_over = guest.wait(BOOT_TIMEOUT_S)

    assert is_over
    assert guest.status is None
    assert "sysrq triggered crash" in guest.console_tail()


BOOTS_AND_TELLS = """
import signal, sys
from pathlib import Path
from vm.guest import Guest
from vm.kernels import Kernel
signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored where the tests run
with Guest(Kernel.of("6.12"), Path(sys.argv[1]), ["sleep", "1000"]) as guest:
    print(guest.pid, flush=True)
    signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill", "ctrl-c"])
def test_no_emulator_outlives_the_tests(tmp_path: Path, number: signal.Signals) -> None:
    tests = subprocess.Popen(
        [sys.executable, "-c", BOOTS_AND_TELLS, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with tests:
        assert tests.stdout is not None
        emulator = os.pidfd_open(int(tests.stdout.readline()))
        tests.send_signal(number)
        ended, _, _ = select.select([emulator], [], [], 30)
        os.close(emulator)
        tests.kill()

    assert ended
