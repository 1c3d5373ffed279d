"""Working directories of real processes."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from nfsnitch.adapters import procfs
from nfsnitch.adapters.working_directory import WorkingDirectories
from nfsnitch.core.owner import Process
from nfsnitch.core.unknown import Unknown


@contextmanager
def sleeper(cwd: Path) -> Iterator[tuple[subprocess.Popen[bytes], Process]]:
    """Run a program that waits for its standard input there."""
    with subprocess.Popen(["cat"], cwd=cwd, stdin=subprocess.PIPE) as running:  # noqa: S607
        seen = procfs.process(running.pid)
        assert isinstance(seen, Process)
        try:
            yield running, seen
        finally:
            running.kill()


def reason(found: str | Unknown) -> str:
    assert isinstance(found, Unknown)
    return found.reason


def test_a_process_is_where_it_was_started(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"odd \xff\n")
    odd.mkdir()
    with sleeper(odd) as (_, process):
        assert WorkingDirectories().of(process) == os.fspath(odd)


def test_it_is_looked_up_once(tmp_path: Path) -> None:
    directories = WorkingDirectories()
    with sleeper(tmp_path) as (_, process):
        assert directories.of(process) == os.fspath(tmp_path)
    assert directories.of(process) == os.fspath(tmp_path)
    assert "/cwd: " in reason(WorkingDirectories().of(process))


def test_another_process_with_the_same_pid_is_not_it(tmp_path: Path) -> None:
    with sleeper(tmp_path) as (_, process):
        earlier = replace(process, start_time_ns=process.start_time_ns - 10**9)
        assert "is gone" in reason(WorkingDirectories().of(earlier))


def test_another_program_in_the_same_process_is_not_it(tmp_path: Path) -> None:
    with sleeper(tmp_path) as (_, process):
        before = replace(process, exe=replace(process.exe, inode=1))
        assert "another program" in reason(WorkingDirectories().of(before))


def test_a_deleted_directory_has_no_path(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    with sleeper(gone) as (_, process):
        gone.rmdir()
        assert "deleted" in reason(WorkingDirectories().of(process))
