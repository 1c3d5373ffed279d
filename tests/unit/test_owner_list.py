"""What is read of files that list the maps: all that was written, nothing of another version."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import KernelImage, KernelOwner, image_key
from nfsnitch.adapters.bpf.layout import (
    COOKIE,
    LAYOUT_VERSION,
    ROW_HEAD,
    OwnerEntry,
    OwnerFlag,
    with_history,
)
from nfsnitch.adapters.bpf.owner_list import open_sockets
from nfsnitch.adapters.bpf.readers import OtherLayoutError, rows
from nfsnitch.core.unknown import Unknown


def row(key: bytes, value: bytes, version: int = LAYOUT_VERSION) -> bytes:
    return ROW_HEAD.pack(version, ROW_HEAD.size + len(key) + len(value)) + key + value


def owner_row(cookie: int, owner: KernelOwner) -> bytes:
    return row(COOKIE.pack(cookie), owner.packed())


@given(st.lists(st.integers(0, 2**64 - 1), unique=True, max_size=20))
def test_every_row_is_read_as_it_was_written(cookies: list[int]) -> None:
    value = KernelOwner(image_key(7)).packed()
    file = BytesIO(b"".join(row(COOKIE.pack(cookie), value) for cookie in cookies))

    assert list(rows(file, "owners")) == [(COOKIE.pack(cookie), value) for cookie in cookies]


@given(st.binary(min_size=1, max_size=300))
def test_anything_else_is_refused_and_never_taken_for_an_owner(raw: bytes) -> None:
    with pytest.raises(OtherLayoutError):
        list(rows(BytesIO(raw), "owners"))


def test_another_version_is_told_with_what_to_do() -> None:
    file = BytesIO(row(COOKIE.pack(1), KernelOwner(image_key(7)).packed(), LAYOUT_VERSION + 1))

    with pytest.raises(OtherLayoutError, match="use the daemon's own, or restart"):
        list(rows(file, "owners"))


def test_a_list_that_ends_early_is_refused() -> None:
    whole = owner_row(1, KernelOwner(image_key(7)))

    with pytest.raises(OtherLayoutError, match="in the middle of an entry"):
        list(rows(BytesIO(whole[:-1]), "owners"))


def test_open_sockets_are_listed_with_program_and_parents_and_closed_ones_are_not() -> None:
    parent, child = image_key(6), image_key(7)
    owners = owner_row(1, KernelOwner(child)) + owner_row(2, KernelOwner(child, 5, 6))
    images = row(parent, KernelImage(exe=b"/bin/sh").packed())
    images += row(child, KernelImage(exe=b"/bin/nc", args=b"nc\0", parent=parent).packed())

    (found,) = open_sockets(BytesIO(owners), BytesIO(images))

    assert found.cookie == 1
    assert (found.owner.pid, found.owner.exe.path, found.owner.args) == (7, "/bin/nc", ("nc",))
    assert [(each.pid, each.exe.path) for each in found.owner.parents] == [(6, "/bin/sh")]


def test_an_owner_whose_process_is_not_listed_is_unknown_with_the_reason() -> None:
    (found,) = open_sockets(BytesIO(owner_row(1, KernelOwner(image_key(7)))), BytesIO())

    assert isinstance(found.owner.exe.path, Unknown)
    assert "the map of processes was full" in found.owner.exe.path.reason


def test_an_owner_taken_over_is_as_old_as_it_was_and_keeps_both_flags() -> None:
    older = KernelOwner(image_key(6), 100, 0, 1, 1, b"old", OwnerFlag.USED).packed()
    newer = KernelOwner(image_key(7), 200, 0, 2, 2, b"new", OwnerFlag.SHARES_PORT).packed()

    entry = OwnerEntry.unpacked(with_history(newer, older))

    assert (entry.created_ns, entry.uid, entry.image_key) == (100, 2, image_key(7))
    assert entry.flags == OwnerFlag.USED | OwnerFlag.SHARES_PORT
