"""The prompter as it is started, at a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from nfsnitch.lab.process import same_modules
from terminal_play import Terminal, at_terminal

READY = "a allow"
"""Stands on the screen when answers count."""


@contextmanager
def prompting(
    path: Path,
    *argv: str,
    guard_ms: int = 0,
    size: tuple[int, int] = (100, 34),
    environment: Mapping[str, str] | None = None,
) -> Iterator[Terminal]:
    """Run ``nfsnitch prompt`` at a terminal, by default without the time to read a question.

    The daemon has its socket at *path*.
    """
    command = ["-m", "nfsnitch.cli", "prompt", "--socket", str(path)]
    command += ["--guard-ms", str(guard_ms), *argv]
    with at_terminal(command, {**same_modules(), **(environment or {})}, size) as terminal:
        yield terminal
