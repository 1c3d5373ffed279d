"""What eBPF could not tell of an owner: filled in from /proc, where that is safe."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from builders import (
    COMPLETE,
    NS_PER_S,
    OWN_MNTNS,
    KernelImage,
    KernelOwner,
    image_key,
    own_inode,
    own_key,
)
from fakes import FakeOwners
from nfsnitch.adapters import procfs
from nfsnitch.adapters.bpf.layout import ImageFlag
from nfsnitch.core.owner import Process
from nfsnitch.core.unknown import Unknown

COOKIE = FakeOwners.COOKIE
CURL, SHELL = image_key(300), image_key(200)
NO_ARGS = COMPLETE & ~ImageFlag.ARGS_KNOWN
ELSEWHERE = OWN_MNTNS + 1


@pytest.fixture(name="kernel")
def fixture_kernel() -> FakeOwners:
    return FakeOwners()


@pytest.mark.parametrize(
    ("flags", "lacking"),
    [
        (COMPLETE & ~ImageFlag.ARGS_KNOWN, "args"),
        (COMPLETE | ImageFlag.ARGS_TRUNCATED, "args"),
        (COMPLETE | ImageFlag.EXE_TRUNCATED, "exe"),
        (COMPLETE | ImageFlag.TORN, "exe"),
        (COMPLETE & ~(ImageFlag.ARGS_KNOWN | ImageFlag.CGROUP_KNOWN), "cgroup"),
    ],
)
def test_what_the_kernel_could_not_tell_comes_from_proc_if_it_is_the_same_process(
    kernel: FakeOwners, flags: ImageFlag, lacking: str
) -> None:
    found = kernel.socket_of(own_key(), KernelImage(flags=flags, exe_inode=own_inode()))

    there = procfs.process(os.getpid())
    assert isinstance(there, Process)
    assert getattr(found, lacking) == getattr(there, lacking)
    assert found.uid == 1_000  # what the kernel did tell is not replaced


def test_proc_is_asked_once_for_all_sockets_of_such_a_process(
    kernel: FakeOwners, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = COMPLETE & ~ImageFlag.ARGS_KNOWN
    first = kernel.socket_of(own_key(), KernelImage(flags=flags, exe_inode=own_inode()))
    monkeypatch.setattr(procfs, "process", lambda _pid: Unknown("asked again"))
    kernel.has_socket(COOKIE + 1, KernelOwner(own_key()))

    assert kernel.process(COOKIE + 1) == first
    assert isinstance(first.args, tuple)


def test_what_the_kernel_did_tell_is_not_replaced_by_what_proc_says(kernel: FakeOwners) -> None:
    flags = COMPLETE & ~ImageFlag.ARGS_KNOWN

    found = kernel.socket_of(own_key(), KernelImage(flags=flags, exe_inode=own_inode()))

    assert (found.exe.path, found.cgroup) == ("/usr/bin/curl", "/user.slice")


def test_a_process_that_only_has_the_same_pid_lends_nothing(kernel: FakeOwners) -> None:
    flags = COMPLETE & ~ImageFlag.ARGS_KNOWN
    earlier = own_key(start_offset_ns=-10 * NS_PER_S)

    found = kernel.socket_of(earlier, KernelImage(flags=flags, exe_inode=own_inode()))

    assert isinstance(found.args, Unknown)


def test_a_process_that_runs_another_file_by_now_lends_nothing(kernel: FakeOwners) -> None:
    flags = COMPLETE & ~ImageFlag.ARGS_KNOWN

    found = kernel.socket_of(own_key(), KernelImage(flags=flags, exe_inode=own_inode() + 1))

    assert isinstance(found.args, Unknown)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let /proc be looked at as before; returns the pids that are asked for."""
    asked: list[int] = []
    look = procfs.process

    def process(pid: int) -> Process | Unknown:
        asked.append(pid)
        return look(pid)

    monkeypatch.setattr(procfs, "process", process)
    return asked


def test_a_look_into_proc_that_found_nothing_is_not_repeated(
    kernel: FakeOwners, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = counted(monkeypatch)
    earlier = own_key(start_offset_ns=-10 * NS_PER_S)
    kernel.socket_of(earlier, KernelImage(flags=NO_ARGS, exe_inode=own_inode()))
    kernel.has_socket(COOKIE + 1, KernelOwner(earlier))

    found = kernel.process(COOKIE + 1)

    assert isinstance(found.args, Unknown)
    assert asked == [os.getpid()]


def test_when_proc_must_not_be_asked_the_owner_stays_as_the_kernel_told_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel = FakeOwners(proc_lookups=0)
    asked = counted(monkeypatch)

    found = kernel.socket_of(own_key(), KernelImage(flags=NO_ARGS, exe_inode=own_inode()))

    assert isinstance(found.args, Unknown)
    assert (found.pid, found.exe.path) == (os.getpid(), "/usr/bin/curl")
    assert asked == []


def test_what_proc_said_before_it_must_not_be_asked_stays_known() -> None:
    kernel = FakeOwners(proc_lookups=1)
    first = kernel.socket_of(own_key(), KernelImage(flags=NO_ARGS, exe_inode=own_inode()))
    other = own_key(start_offset_ns=-10 * NS_PER_S)
    kernel.has_image(other, KernelImage(flags=NO_ARGS))
    kernel.has_socket(COOKIE + 1, KernelOwner(other))

    assert isinstance(kernel.process(COOKIE + 1).args, Unknown)
    assert isinstance(first.args, tuple)
    assert kernel.process() == first


def test_a_process_that_the_kernel_knows_whole_is_not_looked_up_in_proc(
    kernel: FakeOwners, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = counted(monkeypatch)

    kernel.socket_of(own_key(), KernelImage())

    assert asked == []


@pytest.fixture(name="program")
def fixture_program(tmp_path: Path) -> Path:
    """Return a file that is the same in all mount namespaces."""
    place = tmp_path / "program"
    place.touch()
    return place


def image_of(program: Path, **others: object) -> KernelImage:
    """Return the image of a process that runs a file."""
    file = program.stat()
    device = os.major(file.st_dev) << 20 | os.minor(file.st_dev)
    image = KernelImage(exe=os.fsencode(program), exe_device=device, exe_inode=file.st_ino)
    return replace(image, **others)  # type: ignore[arg-type]


def test_a_path_from_another_mount_namespace_counts_if_it_is_the_same_file_here(
    kernel: FakeOwners, program: Path
) -> None:
    found = kernel.socket_of(CURL, image_of(program, mntns=ELSEWHERE))

    assert found.exe.path == str(program)


@pytest.mark.parametrize("difference", ["inode", "device", "no such file"])
def test_a_path_from_another_mount_namespace_that_is_another_file_here_is_unknown(
    kernel: FakeOwners, program: Path, difference: str
) -> None:
    image = image_of(program, mntns=ELSEWHERE)
    if difference == "inode":
        image = replace(image, exe_inode=image.exe_inode + 1)
    elif difference == "device":
        image = replace(image, exe_device=image.exe_device + 1)
    else:
        program.unlink()

    found = kernel.socket_of(CURL, image)

    assert isinstance(found.exe.path, Unknown)
    assert f"in a mount namespace of its own it is {program}" in found.exe.path.reason
    assert found.exe.inode == image.exe_inode  # what is known without a path stays known


def test_a_path_from_our_own_mount_namespace_need_not_lead_to_the_file_any_more(
    kernel: FakeOwners, program: Path
) -> None:
    image = image_of(program)
    program.unlink()

    assert kernel.socket_of(CURL, image).exe.path == str(program)


def test_an_ancestors_path_from_another_mount_namespace_is_checked_likewise(
    kernel: FakeOwners, program: Path
) -> None:
    kernel.has_image(SHELL, image_of(program, mntns=ELSEWHERE, exe_inode=1))

    (shell,) = kernel.socket_of(CURL, KernelImage(parent=SHELL)).parents

    assert isinstance(shell.exe.path, Unknown)
