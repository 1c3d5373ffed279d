"""One instance in each network namespace."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nfsnitch.adapters.instance import AlreadyRunningError, InstanceLock

HOLDER = """
import sys
from pathlib import Path
from nfsnitch.adapters.instance import InstanceLock
lock = InstanceLock(5, Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture(name="directory")
def fixture_directory(tmp_path: Path) -> Path:
    return tmp_path / "nfsnitch"


def test_a_second_instance_is_refused_and_told_who_has_it(directory: Path) -> None:
    lock = InstanceLock(5, directory)

    with pytest.raises(AlreadyRunningError) as refusal:
        InstanceLock(5, directory)

    assert str(refusal.value) == (
        f"nfsnitch already runs in network namespace net:[5] as process {os.getpid()} "
        f"({directory}/netns-5.lock); stop that one first"
    )
    lock.release()


def test_being_refused_leaves_the_holders_number_where_it_is(directory: Path) -> None:
    lock = InstanceLock(5, directory)

    for _ in range(2):
        with pytest.raises(AlreadyRunningError, match=f"as process {os.getpid()} "):
            InstanceLock(5, directory)

    lock.release()


def test_each_namespace_has_a_lock_of_its_own(directory: Path) -> None:
    locks = [InstanceLock(netns, directory) for netns in (5, 6)]

    assert sorted(path.name for path in directory.iterdir()) == ["netns-5.lock", "netns-6.lock"]
    for lock in locks:
        lock.release()


def test_a_lock_that_was_given_back_can_be_taken_and_its_file_names_nobody(
    directory: Path,
) -> None:
    InstanceLock(5, directory).release()
    assert (directory / "netns-5.lock").read_bytes() == b""

    lock = InstanceLock(5, directory)

    assert (directory / "netns-5.lock").read_text("ascii") == f"{os.getpid()}\n"
    lock.release()


def test_the_lock_of_a_killed_process_is_free_and_its_longer_number_overwritten(
    directory: Path,
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(AlreadyRunningError, match=f"as process {holder.pid} "):
            InstanceLock(5, directory)
        holder.kill()
        holder.wait()
    file = directory / "netns-5.lock"
    assert file.read_text("ascii") == f"{holder.pid}\n"
    file.write_text("4194304 and more\n", "ascii")

    lock = InstanceLock(5, directory)

    assert file.read_text("ascii") == f"{os.getpid()}\n"
    lock.release()


def test_a_link_in_the_place_of_the_lock_file_is_not_followed(directory: Path) -> None:
    directory.mkdir()
    victim = directory / "victim"
    victim.write_text("precious", "ascii")
    (directory / "netns-5.lock").symlink_to(victim)

    with pytest.raises(OSError, match="symbolic links"):
        InstanceLock(5, directory)

    assert victim.read_text("ascii") == "precious"


def test_others_cannot_write_to_the_directory_or_the_file(directory: Path) -> None:
    before = os.umask(0)
    try:
        lock = InstanceLock(5, directory)
    finally:
        os.umask(before)

    assert directory.stat().st_mode & 0o777 == 0o755
    assert (directory / "netns-5.lock").stat().st_mode & 0o777 == 0o644
    lock.release()
