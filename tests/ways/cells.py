"""What the test run has found out: one cell of the table in docs/ways-out.md after the other.

Natively a cell is appended to a file in the cache; in a guest, which cannot write there, it travels
with the test's result, and the host appends it. The last one of a cell counts.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, Self

FILE = Path(__file__).parents[2] / ".cache" / "ways-out.jsonl"
LOADER_VARIABLE = "NFSNITCH_BPF"
"""Environment variable: by which loader the eBPF programs come into the kernel."""
COLUMN = ""
"""In place of a way: the cell is about a whole column, which cannot be had."""


class Cell(NamedTuple):
    """One way on one kernel, in one attach mode, by one loader."""

    kernel: str
    """Its first two numbers."""
    mode: str
    loader: str
    way: str
    right: int
    tried: int
    why: str = ""
    """Why not all are right, or none was tried."""

    @classmethod
    def here(cls, mode: str, way: str, right: int, tried: int, why: str = "") -> Self:
        """Return a cell of this kernel and loader."""
        kernel = ".".join(platform.release().split(".")[:2])
        loader = os.environ.get(LOADER_VARIABLE) or "core"
        return cls(kernel, mode, "core" if loader == "auto" else loader, way, right, tried, why)

    @classmethod
    def read(cls, found: dict[str, Any]) -> Self:
        """Return the cell that `_asdict` was made of."""
        return cls(**found)


def keep(cells: Iterable[Cell], file: Path = FILE) -> None:
    """Append *cells*, each by one write, so that tests in parallel do not mix them."""
    file.parent.mkdir(exist_ok=True)
    for cell in cells:
        line = json.dumps(cell._asdict()) + "\n"
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


def kept(file: Path = FILE) -> list[Cell]:
    """Return the last of each cell."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    cells = [Cell.read(json.loads(line)) for line in lines]
    return list({cell[:4]: cell for cell in cells}.values())
