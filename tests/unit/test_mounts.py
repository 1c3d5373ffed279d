"""Where a path leads, seen from a root directory that need not be ours."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nfsnitch.adapters import mounts
from nfsnitch.adapters.mounts import Mounts


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.fixture(name="root")
def fixture_root(tmp_path: Path) -> Path:
    """Return the root directory of a process that `other` sees the machine through."""
    (tmp_path / "ns").mkdir()
    (tmp_path / "ns" / "mnt").touch()
    root = tmp_path / "elsewhere"
    root.mkdir()
    (tmp_path / "root").symlink_to(root)
    return root


@pytest.fixture(name="other")
def fixture_other(root: Path) -> Mounts:
    assert root.is_dir()
    return Mounts(root.parent)


def test_a_path_leads_to_the_file_below_that_root(root: Path, other: Mounts) -> None:
    (root / "tool").touch()

    found = other.file_at(b"/tool")

    assert found is not None
    assert os.path.samestat(found, (root / "tool").stat())


@pytest.mark.parametrize("target", ["/etc", "../../../../../../../../etc"])
def test_a_symbolic_link_does_not_lead_out_of_that_root(
    root: Path, other: Mounts, target: str
) -> None:
    assert Path("/etc/passwd").exists()
    (root / "link").symlink_to(target)
    assert other.file_at(b"/link/passwd") is None

    (root / "etc").mkdir()
    (root / "etc" / "passwd").touch()
    found = other.file_at(b"/link/passwd")

    assert found is not None
    assert os.path.samestat(found, (root / "etc" / "passwd").stat())


def test_what_is_not_there_is_none(other: Mounts) -> None:
    assert other.file_at(b"/nothing") is None
    assert other.file_at(b"/" + b"x" * 5_000) is None


def test_a_root_that_has_gone_has_no_files(root: Path, other: Mounts) -> None:
    (root / "tool").touch()
    (root.parent / "root").unlink()

    assert other.file_at(b"/tool") is None


def test_looking_leaves_no_descriptor_open(root: Path, other: Mounts) -> None:
    (root / "tool").touch()
    before = open_descriptors()
    for path in (b"/tool", b"/nothing"):
        other.file_at(path)

    assert open_descriptors() == before


def test_without_a_look_at_the_first_process_it_is_our_own_namespace_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "_FIRST", tmp_path / "nobody")
    found = mounts.of_the_rules.__wrapped__()

    assert found.namespace == Path("/proc/self/ns/mnt").stat().st_ino
    assert found.file_at(b"/usr/bin/env") is not None
