"""Where things are pinned: names, and a folder that nobody else can write to."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfsnitch.adapters.bpf import bpffs


@given(st.integers(0, 2**64 - 1))
def test_a_folders_name_leads_back_to_its_namespace(netns: int) -> None:
    assert bpffs.netns_of(bpffs.folder_name(netns)) == netns


@given(st.text(max_size=20))
def test_no_other_name_is_taken_for_a_namespaces(text: str) -> None:
    found = bpffs.netns_of(text)

    assert found is None or (text.isascii() and text == f"netns-{text[6:]}")


@pytest.mark.root
def test_a_folder_of_roots_is_accepted_and_so_is_none(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir(mode=0o711)

    bpffs.check_own(own)
    bpffs.check_own(tmp_path / "none")


@pytest.mark.root
def test_a_folder_that_others_can_write_to_a_link_and_a_file_are_refused(tmp_path: Path) -> None:
    shared, link, file = tmp_path / "shared", tmp_path / "link", tmp_path / "file"
    shared.mkdir()
    shared.chmod(0o777)
    link.symlink_to(tmp_path)
    file.touch()

    for place in (shared, link, file):
        with pytest.raises(OSError, match="only root can write to; remove it"):
            bpffs.check_own(place)


def test_a_place_that_is_no_bpf_file_system_is_told_apart(tmp_path: Path) -> None:
    assert not bpffs.is_mounted(tmp_path)
    assert not bpffs.is_mounted(tmp_path / "none")
