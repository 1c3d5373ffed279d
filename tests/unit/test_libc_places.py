"""Where the C library's functions are found, and when they are left alone."""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path

import pytest

from nfsnitch.adapters import privileges
from nfsnitch.adapters.bpf import libc_places
from nfsnitch.adapters.bpf.libc_places import LibcError, identity, places, sandbox_kills
from nfsnitch.adapters.privileges import Capability


@pytest.fixture(name="uprobes", autouse=True)
def fixture_uprobes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Have a kernel that can, whatever the running one can."""
    there = tmp_path / "uprobe"
    there.touch()
    monkeypatch.setattr(libc_places, "_UPROBE_PMU", there)
    monkeypatch.setattr(libc_places, "sandbox_kills", lambda _machine, _release: False)
    monkeypatch.setattr(privileges, "effective", lambda: {Capability.CAP_SYS_ADMIN})
    return there


def test_a_function_is_found_in_the_file_that_has_its_code() -> None:
    found = places(("getaddrinfo", "gethostbyname_r"))

    assert {each.path for each in found.values()} == {found["getaddrinfo"].path}
    for name, place in found.items():
        code = place.path.read_bytes()[place.offset_bytes :]
        address = ctypes.cast(getattr(ctypes.CDLL(None), name), ctypes.c_void_p).value
        assert address
        # The first ones may be the kernel's own, for a probe.
        assert code[16:64] == ctypes.string_at(address, 64)[16:]


def test_a_function_that_is_not_there_is_named() -> None:
    with pytest.raises(LibcError, match="has no get_no_such_thing"):
        places(("get_no_such_thing",))


def test_a_library_that_was_replaced_is_not_mistaken_for_the_one_in_use(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = places(("getaddrinfo",))["getaddrinfo"].path
    other = tmp_path / "libc.so.6"
    shutil.copyfile("/bin/sh", other)
    maps = tmp_path / "maps"
    lines = Path("/proc/self/maps").read_text("utf-8").replace(str(real), str(other))
    maps.write_text(lines, "utf-8")
    monkeypatch.setattr(libc_places, "_MAPS", maps)

    with pytest.raises(LibcError, match="has been replaced since this process was started"):
        places(("getaddrinfo",))
    other.unlink()
    with pytest.raises(LibcError, match="cannot be read"):
        places(("getaddrinfo",))
    assert identity() == ""


def test_a_kernel_without_uprobes_is_told_so(uprobes: Path) -> None:
    uprobes.unlink()

    with pytest.raises(LibcError, match="the kernel has no uprobes"):
        places(("getaddrinfo",))


def test_who_may_not_watch_other_programs_is_told_what_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(privileges, "effective", lambda: {Capability.CAP_PERFMON})

    with pytest.raises(LibcError, match="takes CAP_SYS_ADMIN at the start"):
        places(("getaddrinfo",))


def test_where_sandboxed_programs_would_be_ended_nothing_is_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(libc_places, "sandbox_kills", lambda _machine, _release: True)

    with pytest.raises(LibcError, match="would end sandboxed programs"):
        places(("getaddrinfo",))


@pytest.mark.parametrize(
    ("machine", "release", "kills"),
    [
        ("x86_64", "6.1.0-40-amd64", False),
        ("x86_64", "6.10.14", False),
        ("x86_64", "6.11.11-generic", True),
        ("x86_64", "6.12.9", True),
        ("x86_64", "6.12.48+deb13-amd64", False),
        ("x86_64", "6.12-rc1", True),
        ("x86_64", "6.13.2", True),
        ("x86_64", "6.13.11", False),
        ("x86_64", "6.14.0", False),
        ("x86_64", "7.0.1", False),
        ("aarch64", "6.11.11", False),
    ],
)
def test_the_kernels_that_would_end_them_are_known(
    machine: str, release: str, *, kills: bool
) -> None:
    assert sandbox_kills(machine, release) is kills


def test_another_library_is_another_one() -> None:
    path = places(("getaddrinfo",))["getaddrinfo"].path

    assert str(path.stat().st_ino) in identity().split()
