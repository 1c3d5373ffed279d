"""Where the cgroup v2 hierarchy is."""

from __future__ import annotations

from pathlib import Path

import pytest

from nfsnitch.adapters.cgroups import v2_root

ROOT = "22 1 0:21 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n"
V1 = "30 22 0:26 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu\n"


def v2_at(place: str, fields: str = "shared:9 ") -> str:
    return f"31 22 0:27 / {place} rw,nosuid,nodev {fields}- cgroup2 cgroup2 rw,nsdelegate\n"


def proc(folder: Path, own: str, first: str = ROOT) -> Path:
    """Make a /proc with what this process and the first one see mounted."""
    for name, text in (("self", own), ("1", first)):
        (folder / name).mkdir()
        (folder / name / "mountinfo").write_text(text, "utf-8")
    return folder


def test_it_is_where_this_process_sees_it_mounted(tmp_path: Path) -> None:
    seen = proc(tmp_path, ROOT + V1 + v2_at("/sys/fs/cgroup/unified"), ROOT + v2_at("/else"))

    assert v2_root(seen) == Path("/sys/fs/cgroup/unified")


@pytest.mark.parametrize("fields", ["", "shared:9 ", "shared:9 master:1 "])
def test_optional_fields_of_a_mount_do_not_matter(tmp_path: Path, fields: str) -> None:
    assert v2_root(proc(tmp_path, v2_at("/cgroup", fields))) == Path("/cgroup")


def test_of_several_mounts_the_first_is_taken(tmp_path: Path) -> None:
    assert v2_root(proc(tmp_path, v2_at("/one") + v2_at("/two"))) == Path("/one")


def test_where_a_fresh_sys_hides_it_the_way_leads_through_the_first_process(
    tmp_path: Path,
) -> None:
    seen = proc(tmp_path, ROOT + V1, ROOT + v2_at("/sys/fs/cgroup"))

    assert v2_root(seen) == tmp_path / "1" / "root" / "sys" / "fs" / "cgroup"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"/my\040cgroups", "/my cgroups"),
        (r"/a\011b\012c", "/a\tb\nc"),
        (r"/back\134slash", "/back\\slash"),
        (r"/back\134040", "/back\\040"),
    ],
)
def test_the_escapes_of_mountinfo_are_undone_once(tmp_path: Path, written: str, meant: str) -> None:
    assert v2_root(proc(tmp_path, v2_at(written))) == Path(meant)


def test_a_mount_of_another_kind_is_not_taken_for_it(tmp_path: Path) -> None:
    lookalike = "31 22 0:27 /cgroup2 /cgroup2 rw - tmpfs cgroup2 rw\n"

    with pytest.raises(FileNotFoundError, match="mount -t cgroup2 none /sys/fs/cgroup"):
        v2_root(proc(tmp_path, lookalike + V1, lookalike))
