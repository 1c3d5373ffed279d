"""What becomes of the tests of a kernel when its guest ends, with a stand-in for the guest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pytest

from vm import session
from vm.kernels import Kernel
from vm.session import GuestSession, Wanted

ONE, TWO = (
    Wanted("lsm", "tests/netns/test_a.py::one"),
    Wanted("kprobe", "tests/netns/test_a.py::two"),
)
consoles: list[str] = []
"""What the console of each boot ends with."""


class EndsAfterOneTest:
    """A guest that is off at once, and has decided the first test of those that were left."""

    def __init__(self, _kernel: Kernel, share: Path, _command: Sequence[str]) -> None:
        self._console = consoles.pop(0)
        self.status = None
        self.output = share / "output"
        self.output.write_text("what the tests said", encoding="ascii")
        wanted = ONE if (share / "lsm.tests").exists() else TWO
        line = {"mode": wanted.mode, "nodeid": wanted.nodeid, "outcome": "passed", "text": ""}
        results = json.dumps({**line, "seconds": 1.0})
        (share / "results.jsonl").write_text(f"{results}\n", encoding="ascii")

    def __enter__(self) -> Self:
        """Do nothing: it has run already."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """Do nothing: it is off."""

    def is_on(self) -> bool:
        return False

    def console_tail(self) -> str:
        return self._console


@pytest.fixture(name="booted")
def fixture_booted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GuestSession:
    monkeypatch.setattr(session, "Guest", EndsAfterOneTest)
    monkeypatch.setattr(session, "compile_for", lambda _kernel, _cache: None)
    kernel = Kernel("6.1", "6.1.0-1-amd64", tmp_path, tmp_path)
    monkeypatch.setattr(Kernel, "of", lambda _line: kernel)
    consoles[:] = ["int3: 0000 [#1] PREEMPT SMP", "int3 again"]
    return GuestSession("6.1", [ONE, TWO], tmp_path)


def test_after_the_emulators_own_fault_what_is_left_runs_in_a_second_boot(
    booted: GuestSession, capfd: pytest.CaptureFixture[str]
) -> None:
    assert booted.result(ONE).outcome == "passed"
    assert booted.boots == 1
    assert booted.result(TWO).outcome == "passed"
    assert booted.boots == 2
    assert "booting it once more" in capfd.readouterr().err


def test_any_other_end_fails_what_is_left_and_shows_the_console(
    tmp_path: Path, booted: GuestSession
) -> None:
    del booted
    consoles[:] = ["BUG: unable to handle page fault"]
    other = GuestSession("6.1", [ONE, TWO], tmp_path / "other")

    left = other.result(TWO)

    assert other.result(ONE).outcome == "passed"
    assert left.outcome == "failed"
    assert "unable to handle page fault" in left.text
    assert "what the tests said" in left.text
