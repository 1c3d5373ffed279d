"""What bcc has compiled is found again, and only by those to whom it means the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from nfsnitch.adapters.bpf import compiled_cache
from nfsnitch.adapters.bpf.compiled_cache import KEPT, Parts, find, keep, key_of

PARTS = Parts({"one": b"\x95" + bytes(7), "two": b""}, bytes(range(256)), b"\0\xff")


@pytest.fixture(name="folder", autouse=True)
def fixture_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv(compiled_cache.VARIABLE, str(folder))
    return folder


def test_what_is_kept_is_found_byte_for_byte_under_its_key_alone() -> None:
    keep("a", PARTS)

    assert find("a") == PARTS
    assert find("b") is None


def test_nobody_else_can_read_or_write_where_it_is_kept(folder: Path) -> None:
    keep("a", PARTS)

    assert folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("whose", ["folder", "file"])
def test_what_others_could_have_written_is_not_taken(folder: Path, whose: str) -> None:
    keep("a", PARTS)
    (file,) = folder.iterdir()
    (folder if whose == "folder" else file).chmod(0o777)

    assert find("a") is None


def test_nothing_is_kept_where_others_can_write(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    keep("a", PARTS)

    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"programs": 1}', '{"programs": {"a": 1}}'])
def test_a_file_that_is_not_whole_is_none(folder: Path, text: str) -> None:
    keep("a", PARTS)
    (file,) = folder.iterdir()
    file.write_text(text)

    assert find("a") is None


def test_only_the_latest_stay(folder: Path) -> None:
    for number in range(KEPT + 3):
        keep(str(number), PARTS)

    assert len(list(folder.iterdir())) == KEPT
    assert find(str(KEPT + 2)) == PARTS


def test_a_place_that_cannot_be_written_to_is_no_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(compiled_cache.VARIABLE, str(tmp_path / "file" / "below"))
    keep("a", PARTS)

    assert find("a") is None


def test_the_key_is_another_for_other_sources_headers_and_words(tmp_path: Path) -> None:
    sources, headers = tmp_path / "sources", tmp_path / "headers"
    for path in (sources / "a.h", sources / "a.bpf.c", headers / "include/generated/autoconf.h"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1")
    keys = [key_of("text", sources, headers)]
    assert keys == [key_of("text", sources, headers)]

    keys.append(key_of("other text", sources, headers))
    for path in (
        sources / "a.h",
        sources / "a.bpf.c",
        headers / "include/generated/autoconf.h",
        headers / "Module.symvers",
    ):
        path.write_text("2")
        keys.append(key_of("text", sources, headers))

    assert len(set(keys)) == len(keys) == 6
