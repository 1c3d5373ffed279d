"""A second group for a file, by an access control list."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfsnitch.adapters.acl import grant

ONE_GID, OTHER_GID, NEITHER_GID = 60_001, 60_002, 60_003
SOMEBODY = 60_000
CONNECT = """\
import errno, socket, sys
result = socket.socket(socket.AF_UNIX).connect_ex(sys.argv[1])
print(errno.errorcode.get(result, "connected"))
"""


@pytest.fixture(name="path")
def fixture_path() -> Iterator[Path]:
    """Yield the path of a socket in a directory that everybody can enter."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o711)
        path = Path(directory) / "socket"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.fspath(path))
            listener.listen()
            path.chmod(0o600)
            yield path


def connects(path: Path, *groups: int) -> str:
    """Return what becomes of a connection by somebody in these groups, and in no other."""
    # realpath: the tests' own environment may lie where nobody else can go.
    done = subprocess.run(
        [os.path.realpath(sys.executable), "-I", "-S", "-c", CONNECT, os.fspath(path)],
        check=True,
        capture_output=True,
        cwd="/",
        user=SOMEBODY,
        group=groups[0],
        extra_groups=groups[1:],
        text=True,
    )
    return done.stdout.strip()


@pytest.mark.root
def test_members_of_both_groups_can_connect_and_nobody_else_can(path: Path) -> None:
    os.chown(path, -1, ONE_GID)
    path.chmod(0o660)

    grant(path, OTHER_GID)

    assert connects(path, ONE_GID) == "connected"
    assert connects(path, OTHER_GID) == "connected"
    assert connects(path, NEITHER_GID, OTHER_GID) == "connected"
    assert connects(path, NEITHER_GID) == "EACCES"


@pytest.mark.root
def test_a_granted_group_does_not_let_in_the_file_s_own_group(path: Path) -> None:
    os.chown(path, -1, ONE_GID)

    grant(path, OTHER_GID)

    assert connects(path, OTHER_GID) == "connected"
    assert connects(path, ONE_GID) == "EACCES"


def test_the_mode_that_ls_shows_is_that_of_all_groups_together(path: Path) -> None:
    grant(path, os.getegid())

    assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_a_file_system_without_lists_says_so_in_its_own_words() -> None:
    with pytest.raises(OSError, match="not supported") as refused:
        grant(Path("/proc/self/comm"), OTHER_GID)

    assert refused.value.errno == errno.EOPNOTSUPP


def test_what_is_not_there_cannot_be_granted(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        grant(path.with_name("nothing"), OTHER_GID)
