"""Where the machine sees a program of another mount namespace."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from fakes import FakeClock
from nfsnitch.adapters.host_paths import HostPaths, Mount, Program, beginnings, parsed
from nfsnitch.adapters.mounts import Mounts
from nfsnitch.adapters.rate_limit import TimeLimit

OVERLAY = os.makedev(0, 45)
DISK = os.makedev(8, 1)
NOBODY = 2**22 + 1
"""A pid that no process has."""


def program(path: str = "/usr/bin/curl", device: int = OVERLAY, inode: int = 7) -> Program:
    return Program(path, 4_026_532_000, device, inode, NOBODY, 0)


class FakeMounts:
    """The machine's mounts, and the files that it sees."""

    def __init__(self, mountinfo: str, **files: tuple[int, int]) -> None:
        self.told = mountinfo.encode()
        self.files = dict(files)
        self.asked = 0

    def mountinfo(self) -> bytes:
        self.asked += 1
        return self.told

    def file_at(self, path: bytes) -> object:
        found = self.files.get(path.decode())
        return None if found is None else SimpleNamespace(st_dev=found[0], st_ino=found[1])


def host_paths(mounts: FakeMounts, clock: FakeClock | None = None) -> HostPaths:
    return HostPaths(cast("Mounts", mounts), TimeLimit(0, 600, 60), clock or FakeClock(10**12))


MERGED = "36 1 0:45 / /var/lib/docker/merged rw - overlay overlay rw\n"
HERE = "/var/lib/docker/merged/usr/bin/curl"


def test_a_program_of_an_overlay_lies_below_where_that_is_mounted() -> None:
    mounts = FakeMounts(MERGED, **{HERE: (OVERLAY, 7)})
    paths = host_paths(mounts)

    assert paths.find(program()) == HERE
    mounts.files["/var/lib/docker/merged/usr/bin/wget"] = (OVERLAY, 8)
    assert paths.find(program("/usr/bin/wget", inode=8)) == HERE.replace("curl", "wget")
    assert mounts.asked == 1  # that they begin alike is remembered


def test_a_path_that_leads_to_another_file_is_none() -> None:
    for other in ((OVERLAY, 8), (DISK, 7)):
        paths = host_paths(FakeMounts(MERGED, **{HERE: other, "/usr/bin/curl": other}))
        assert paths.find(program()) is None


def test_the_same_path_is_taken_where_it_is_the_same_file() -> None:
    mounts = FakeMounts("", **{"/usr/bin/curl": (OVERLAY, 7)})

    assert host_paths(mounts).find(program()) == "/usr/bin/curl"
    assert not mounts.asked


def test_what_was_looked_for_in_vain_is_not_looked_for_again_at_once() -> None:
    mounts, clock = FakeMounts(""), FakeClock(10**12)
    paths = host_paths(mounts, clock)

    assert paths.find(program()) is None
    assert paths.find(program()) is None
    assert mounts.asked == 1
    mounts.told, mounts.files[HERE] = MERGED.encode(), (OVERLAY, 7)
    clock.now_ns += 10**9
    assert paths.find(program()) == HERE


def test_a_part_of_a_file_system_is_found_where_the_machine_has_a_part_of_it() -> None:
    theirs = [Mount(OVERLAY, "/", "/"), Mount(DISK, "/srv/data", "/data")]
    ours = [Mount(DISK, "/", "/"), Mount(DISK, "/srv", "/mnt"), Mount(DISK, "/home", "/home")]

    found = list(beginnings(program("/data/bin/x", DISK), theirs, ours))

    assert found == [("/data", "/srv/data"), ("/data", "/mnt/data")]


def test_mountinfo_is_read_with_its_escapes_and_without_what_is_none() -> None:
    found = parsed(b"36 1 8:1 /a\\040b /c\\134d rw - ext4 x rw\n\nodd\n1 2 x:y / / rw\n")

    assert found == [Mount(DISK, "/a b", "/c\\d")]


@given(st.binary(max_size=200))
def test_no_mountinfo_is_too_odd_to_be_read(raw: bytes) -> None:
    assert all(isinstance(mount.place, str) for mount in parsed(raw))


def test_the_machines_own_mounts_have_its_root(tmp_path: Path) -> None:
    assert tmp_path.exists()
    assert "/" in {mount.place for mount in parsed(Mounts(Path("/proc/self")).mountinfo())}
