"""The demonstration, as `make demo` shows it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from nfsnitch.lab.process import same_modules
from nfsnitch.lab.waiting import PATIENCE

pytestmark = [pytest.mark.root, pytest.mark.netns, pytest.mark.bpf]


def test_every_scene_of_the_demonstration_ends_as_it_should() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nfsnitch.lab.demo"],
        capture_output=True,
        text=True,
        timeout=60 * PATIENCE,
        env={**os.environ, **same_modules()},
        check=False,
    )

    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
