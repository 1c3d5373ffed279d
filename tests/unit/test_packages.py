"""Which package a file belongs to: dpkg's files as dpkg writes them, rpm's answers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfsnitch.adapters.dpkg import Diversion, DpkgPackages, Package, diversions
from nfsnitch.adapters.packages import NoPackages, packages
from nfsnitch.adapters.rpm import answer
from nfsnitch.core.identity import NO_PACKAGE
from nfsnitch.core.unknown import Unknown

INSTALLED_NS = 1_700_000_000 * 10**9


class Machine:
    """A root directory with dpkg's files in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.info = root / "var" / "lib" / "dpkg" / "info"
        self.info.mkdir(parents=True)
        for name in ("bin", "lib"):
            (root / "usr" / name).mkdir(parents=True)
            (root / name).symlink_to(f"usr/{name}")
        self._installs = 0

    def install(self, package: str, *paths: str) -> None:
        """Write down that a package has these files."""
        (self.info / f"{package}.list").write_text("".join(f"{each}\n" for each in paths))
        os.utime(self.info / f"{package}.list", ns=(INSTALLED_NS, INSTALLED_NS))
        # As if a second had passed each time.
        self._installs += 1
        os.utime(self.info, ns=(0, INSTALLED_NS + self._installs))

    def divert(self, *lines: str) -> None:
        """Write dpkg's file of diversions."""
        (self.info.parent / "diversions").write_text("".join(f"{each}\n" for each in lines))


@pytest.fixture(name="machine")
def fixture_machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def name_of(found: Package | Unknown) -> str:
    assert isinstance(found, Package)
    return found.name


def test_a_file_belongs_to_the_package_that_lists_it_and_others_to_none(machine: Machine) -> None:
    machine.install("curl", "/.", "/usr/bin", "/usr/bin/curl")
    machine.install("libc6:amd64", "/usr/lib/ld.so")
    found = DpkgPackages(machine.root)

    assert found.package_of("/usr/bin/curl") == Package("curl", INSTALLED_NS)
    assert name_of(found.package_of("/usr/lib/ld.so")) == "libc6"
    for path in ("/usr/bin/cur", "/usr/bin/curl2", "/tmp/x", "/usr/bin/a\nb"):  # noqa: S108
        assert found.package_of(path) == Package(NO_PACKAGE)


def test_where_bin_is_a_link_packages_may_list_either_path(machine: Machine) -> None:
    machine.install("bash", "/bin/bash")
    (machine.root / "sbin").mkdir()
    machine.install("old", "/sbin/old")
    found = DpkgPackages(machine.root)

    assert name_of(found.package_of("/usr/bin/bash")) == "bash"
    # Here /sbin is a folder of its own, and /usr/sbin/old another file.
    assert name_of(found.package_of("/usr/sbin/old")) == NO_PACKAGE


def test_a_diverted_file_belongs_to_its_package_and_its_place_to_who_diverted(
    machine: Machine,
) -> None:
    machine.install("perf", "/usr/bin/perf")
    machine.install("wrapper", "/usr/bin/perf")
    machine.install("tool", "/usr/bin/tool")
    machine.divert(
        *("/usr/bin/perf", "/usr/bin/perf.real", "wrapper"),
        *("/usr/bin/tool", "/usr/bin/tool.distrib", ":"),
    )
    found = DpkgPackages(machine.root)

    assert name_of(found.package_of("/usr/bin/perf.real")) == "perf"
    assert name_of(found.package_of("/usr/bin/perf")) == "wrapper"
    assert name_of(found.package_of("/usr/bin/tool.distrib")) == "tool"
    assert name_of(found.package_of("/usr/bin/tool")) == NO_PACKAGE  # the administrator's own


def test_what_is_installed_or_removed_later_is_noticed(machine: Machine) -> None:
    found = DpkgPackages(machine.root)
    assert name_of(found.package_of("/usr/bin/new")) == NO_PACKAGE
    before = found.state()
    machine.install("new", "/usr/bin/new")

    assert found.state() != before
    assert name_of(found.package_of("/usr/bin/new")) == "new"
    (machine.info / "new.list").unlink()
    assert name_of(found.package_of("/usr/bin/new")) == NO_PACKAGE


def test_this_machines_own_package_manager_is_asked() -> None:
    found = packages().package_of("/usr/bin/env")

    assert found == Package("coreutils", found.installed_ns if isinstance(found, Package) else 0)


def test_a_machine_without_a_known_package_manager_says_so(tmp_path: Path) -> None:
    assert isinstance(packages(tmp_path), NoPackages)
    assert isinstance(packages(tmp_path).package_of("/usr/bin/env"), Unknown)


paths = st.binary(min_size=1, max_size=20).map(lambda raw: b"/" + raw.replace(b"\n", b""))


@given(
    st.lists(st.tuples(paths, paths, st.from_regex(rb"[a-z][a-z0-9+.-]{0,9}|:", fullmatch=True)))
)
def test_diversions_are_read_as_they_were_written(given_ones: list[tuple[bytes, ...]]) -> None:
    raw = b"".join(b"%s\n" % line for each in given_ones for line in each)

    assert list(diversions(raw)) == [Diversion(*each) for each in given_ones]


@given(st.binary(max_size=200))
def test_whatever_a_file_of_diversions_holds_nothing_is_raised(raw: bytes) -> None:
    for each in diversions(raw):
        assert each.listed.startswith(b"/")


@pytest.mark.parametrize(
    ("status", "said", "expected"),
    [
        (0, b"bash 1700000000\n", Package("bash", INSTALLED_NS)),
        (0, b"bash 1700000000\nother 5\n", Package("bash", INSTALLED_NS)),
        (1, b"file /x y is not owned by any package\n", Package(NO_PACKAGE)),
        (1, b"error: cannot open Packages database\n", None),
        (0, b"", None),
        (0, b"bash", None),
        (0, b"bash soon\n", None),
    ],
)
def test_an_answer_of_rpm_is_understood_or_unknown(
    status: int, said: bytes, expected: Package | None
) -> None:
    found = answer(status, said)

    assert found == expected if expected else isinstance(found, Unknown)
