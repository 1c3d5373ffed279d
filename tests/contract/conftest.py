"""What the real things need: a cgroup and a network namespace of the test's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfsnitch.lab import cgroups
from nfsnitch.lab.runs import Run


@pytest.fixture(scope="module")
def own_cgroup() -> Iterator[Path]:
    """Yield an empty cgroup; without root there is none, and the real thing is not tried."""
    if os.geteuid() != 0:
        yield Path("/nonexistent")
        return
    path = cgroups.make(Run.new().cgroup())
    yield path
    cgroups.remove(path)
