"""The clock watch, the ledger and the reserve of descriptors, each alone."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest

from nfsnitch.adapters.descriptors import ENOUGH, Reserve
from nfsnitch.adapters.ledger import Ledger
from nfsnitch.core.clock import ClockWatch
from nfsnitch.core.events import Instant

S = 1_000_000_000


def test_a_clock_that_is_set_is_noticed_once_by_how_much_and_in_which_direction() -> None:
    watch = ClockWatch(Instant(0, 100 * S))

    assert watch.jump_ns(Instant(1 * S, 101 * S)) == 0
    assert watch.jump_ns(Instant(2 * S, 3_702 * S)) == 3_600 * S
    assert watch.jump_ns(Instant(3 * S, 3_703 * S)) == 0
    assert watch.jump_ns(Instant(4 * S, 4 * S)) == -3_700 * S


def test_a_clock_that_is_corrected_bit_by_bit_is_no_jump() -> None:
    watch = ClockWatch(Instant(0, 0))

    assert [watch.jump_ns(Instant(at * S, at * S + at * 1_000_000)) for at in range(1, 9)] == [
        0
    ] * 8


def test_the_ledger_of_a_process_that_is_killed_is_read_by_the_next_one(tmp_path: Path) -> None:
    script = f"""
import os, pathlib, signal
from nfsnitch.adapters.ledger import Ledger
ledger = Ledger(7, pathlib.Path({str(tmp_path)!r}))
for _ in range(1000):
    ledger.note_evaluated()
ledger.note_dropped(5, 6)
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", script], check=False)

    with closing(Ledger(7, tmp_path)) as ledger, closing(Ledger(8, tmp_path)) as other:
        numbers = ledger.evaluated, ledger.queue_dropped, ledger.user_dropped
        of_other = other.evaluated
        ledger.clear()
        cleared = ledger.evaluated, ledger.queue_dropped, ledger.user_dropped

    assert killed.returncode == -9
    assert numbers == (1_000, 5, 6)
    assert of_other == 0
    assert cleared == (0, 0, 0)


def test_the_ledger_is_no_link_that_somebody_else_has_laid(tmp_path: Path) -> None:
    (tmp_path / "netns-7.ledger").symlink_to(tmp_path / "target")

    with pytest.raises(OSError, match="netns-7"):
        Ledger(7, tmp_path)

    assert not (tmp_path / "target").exists()


def take_all(taken: list[int]) -> None:
    """Open files until no more can be opened."""
    with suppress(OSError):
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))


def test_what_is_kept_in_reserve_is_there_when_nothing_else_is() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    with closing(Reserve()) as reserve:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, before[1]))
        try:
            take_all(taken)
            with reserve.given_up():
                free = [os.open(os.devnull, os.O_RDONLY) for _ in range(ENOUGH)]
                for descriptor in free:
                    os.close(descriptor)
            with pytest.raises(OSError, match="Too many open files"):
                os.open(os.devnull, os.O_RDONLY)
        finally:
            for descriptor in taken:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
