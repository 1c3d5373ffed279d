"""Copies of programs: the same file for the next scenario, unless somebody has touched it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nfsnitch.lab.scenario.copies import Copies


@pytest.fixture(name="program")
def fixture_program(tmp_path: Path) -> Path:
    program = tmp_path / "tool"
    program.write_text("a program", encoding="utf-8")
    return program


@pytest.fixture(name="copies")
def fixture_copies(tmp_path: Path) -> Copies:
    return Copies(tmp_path / "copies")


def test_one_binary_under_one_name_is_one_file_that_can_be_executed(
    copies: Copies, program: Path
) -> None:
    first, second = copies.of(program, "good"), copies.of(program, "good")

    assert first == second
    assert first.name == "good"
    assert first.read_text(encoding="utf-8") == "a program"
    assert first.stat().st_mode & 0o111 == 0o111


def test_another_name_or_another_binary_is_another_file(
    copies: Copies, program: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.write_text("another", encoding="utf-8")
    found = {copies.of(program, "good"), copies.of(program, "bad"), copies.of(other, "good")}

    assert len({path.stat().st_ino for path in found}) == 3


@pytest.mark.parametrize("deed", ["changed", "removed", "replaced", "made-unexecutable"])
def test_what_somebody_has_touched_is_made_anew(copies: Copies, program: Path, deed: str) -> None:
    copy = copies.of(program, "good")
    match deed:
        case "changed":
            copy.write_text("something else", encoding="utf-8")
        case "removed":
            copy.unlink()
        case "replaced":
            new = copy.with_name("new")
            new.write_text("a program", encoding="utf-8")
            new.replace(copy)
        case _:
            copy.chmod(0o600)
    again = copies.of(program, "good")

    assert again == copy
    assert again.read_text(encoding="utf-8") == "a program"
    assert again.stat().st_mode & 0o111 == 0o111
