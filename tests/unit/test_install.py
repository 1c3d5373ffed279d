"""The installer's words about paths that it cannot use."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

INSTALL = Path(__file__).parents[2] / "scripts" / "install"


@pytest.mark.parametrize("name", ["PREFIX", "SYSCONFDIR", "DESTDIR", "SYSTEMD"])
@pytest.mark.parametrize("path", ["relative", "/with space", "/with|bar", "/with$(command)"])
def test_a_path_that_would_break_the_unit_or_the_command_is_refused(name: str, path: str) -> None:
    done = subprocess.run(
        [str(INSTALL)],
        env={**os.environ, name: path},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert done.stderr.startswith(f"install: {path}: a path begins with / and has no spaces")
