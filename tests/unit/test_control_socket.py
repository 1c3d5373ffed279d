"""The control socket in the file system: who may use it, and what it replaces."""

from __future__ import annotations

import grp
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfsnitch.adapters import acl
from nfsnitch.adapters.control_socket import ControlSocket, ControlSocketError
from nfsnitch.adapters.peer import Peer, peer_of
from nfsnitch.protocol import Right

OWN_GROUP = grp.getgrgid(os.getegid()).gr_name
OTHER_UID = os.geteuid() + 1


@pytest.fixture(name="path")
def fixture_path(tmp_path: Path) -> Iterator[Path]:
    before = os.umask(0)
    yield tmp_path / "control.sock"
    os.umask(before)


def test_without_a_group_it_is_the_owners_alone_whatever_the_umask(path: Path) -> None:
    control = ControlSocket(path)

    mode = path.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    control.close()


def test_with_a_group_its_members_may_connect_and_nobody_else(path: Path) -> None:
    control = ControlSocket(path, OWN_GROUP)

    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert path.stat().st_gid == os.getegid()
    control.close()


def test_a_group_that_is_not_there_is_refused_by_its_name(path: Path) -> None:
    for name in ("no-such-group", "no\0group"):
        with pytest.raises(ControlSocketError, match="--group: there is no group 'no"):
            ControlSocket(path, name)
    assert not path.exists()


def test_members_may_watch_and_only_the_daemons_own_user_may_control(path: Path) -> None:
    control = ControlSocket(path, OWN_GROUP)
    gid = os.getegid()

    assert control.rights_of(Peer(1, os.geteuid(), 9, frozenset())) == set(Right)
    assert control.rights_of(Peer(1, OTHER_UID, gid, frozenset())) == {Right.WATCH}
    assert control.rights_of(Peer(1, OTHER_UID, gid + 1, frozenset({gid}))) == {Right.WATCH}
    assert control.rights_of(Peer(1, OTHER_UID, gid + 1, frozenset({gid + 2}))) == set()
    control.close()


def test_without_a_group_nobody_else_has_a_right_not_even_by_gid_0(path: Path) -> None:
    control = ControlSocket(path)

    assert control.gid is None
    assert control.rights_of(Peer(1, OTHER_UID, 0, frozenset({0}))) == set()
    control.close()


def test_what_a_killed_instance_left_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as killed:
        killed.bind(os.fspath(path))

    control = ControlSocket(path)

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(os.fspath(path))
    control.close()
    assert not path.exists()


def test_a_socket_at_which_another_program_listens_is_left_alone(path: Path) -> None:
    other = ControlSocket(path)
    inode = path.stat().st_ino

    with pytest.raises(ControlSocketError, match="another program listens there"):
        ControlSocket(path)

    assert path.stat().st_ino == inode
    other.close()


@pytest.mark.parametrize("kind", ["file", "directory", "symlink"])
def test_something_that_is_no_socket_is_never_removed(path: Path, kind: str) -> None:
    victim = path.with_name("victim")
    victim.write_text("precious", "ascii")
    if kind == "file":
        path.write_text("precious", "ascii")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(victim)

    with pytest.raises(ControlSocketError, match="there is something else"):
        ControlSocket(path)

    assert path.is_symlink() or path.exists()
    assert victim.read_text("ascii") == "precious"


def test_a_directory_in_which_others_could_put_their_own_socket_is_refused(tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir(mode=0o777)
    open_to_all.chmod(0o777)

    with pytest.raises(ControlSocketError, match="others could put a socket of their own there"):
        ControlSocket(open_to_all / "control.sock")

    open_to_all.chmod(0o1777)
    ControlSocket(open_to_all / "control.sock").close()


def test_a_path_that_cannot_be_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ControlSocketError, match="at most 107 bytes"):
        ControlSocket(tmp_path / ("x" * 108))
    with pytest.raises(ControlSocketError, match="its directory cannot be used"):
        ControlSocket(tmp_path / "missing" / "control.sock")


def test_the_kernel_says_who_connected() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        peer = peer_of(ours)

    assert (peer.pid, peer.uid, peer.gid) == (os.getpid(), os.geteuid(), os.getegid())
    assert peer.groups == set(os.getgroups())


@pytest.mark.root
def test_a_member_of_very_many_groups_is_known_with_all_of_them() -> None:
    before = os.getgroups()
    many = set(range(20_000, 20_900))
    os.setgroups(sorted(many))
    try:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with ours, theirs:
            peer = peer_of(ours)
    finally:
        os.setgroups(before)

    assert peer.groups == many
    assert peer.is_in(20_899)
    assert not peer.is_in(20_900)


def second_group() -> str:
    """Return a group that is not our own."""
    return next(each.gr_name for each in grp.getgrall() if each.gr_gid not in {0, os.getegid()})


@pytest.mark.root
def test_two_groups_may_connect_and_nobody_else(path: Path) -> None:
    second = second_group()
    gid = grp.getgrnam(second).gr_gid
    control = ControlSocket(path, OWN_GROUP, second)

    assert path.stat().st_gid == os.getegid()
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert acl.granted(path) == [gid]
    control.close()


def test_those_of_the_answer_group_may_answer_and_the_rest_of_them_watch(path: Path) -> None:
    second = second_group()
    gid, own = grp.getgrnam(second).gr_gid, os.getegid()
    control = ControlSocket(path, OWN_GROUP, OWN_GROUP)
    control.answer_gid = gid
    may_answer = {Right.WATCH, Right.ANSWER}

    assert control.rights_of(Peer(1, OTHER_UID, gid, frozenset())) == may_answer
    assert control.rights_of(Peer(1, OTHER_UID, own, frozenset({gid}))) == may_answer
    assert control.rights_of(Peer(1, OTHER_UID, own, frozenset())) == {Right.WATCH}
    assert control.rights_of(Peer(1, os.geteuid(), own, frozenset())) == set(Right)
    assert control.rights_of(Peer(1, OTHER_UID, own + gid + 1, frozenset())) == set()
    control.close()


def test_one_group_that_may_watch_and_answer_needs_no_list(path: Path) -> None:
    control = ControlSocket(path, OWN_GROUP, OWN_GROUP)

    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert acl.granted(path) == []
    assert control.rights_of(Peer(1, OTHER_UID, os.getegid(), frozenset())) == {
        Right.WATCH,
        Right.ANSWER,
    }
    control.close()


def test_an_answer_group_that_is_not_there_is_refused_by_its_name(path: Path) -> None:
    with pytest.raises(ControlSocketError, match="--answer-group: there is no group 'no-such'"):
        ControlSocket(path, OWN_GROUP, "no-such")
    assert not path.exists()


def test_a_list_that_cannot_be_read_names_nobody(tmp_path: Path) -> None:
    assert acl.granted(tmp_path / "missing") == []
