"""What was found out about one ability of this machine."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """Whether it is there."""

    OK = "ok"
    LIMITED = "limited"
    """It works, but something about it should be known."""
    MISSING = "missing"
    UNKNOWN = "unknown"
    """It could not be found out, as who asked may not, or as nothing answered in time."""


class Answer(NamedTuple):
    """One answer, as the kernel or the machine gave it."""

    state: State
    detail: str
    more: str = ""
    """What to do to get more; empty where there is nothing to do."""
