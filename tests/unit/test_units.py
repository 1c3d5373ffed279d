"""The systemd units, as systemd's own tools see them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from nfsnitch.adapters.privileges import AT_START
from units import FOLDER, UNITS, allowed_system_calls, settings

ANALYZE = shutil.which("systemd-analyze")
pytestmark = pytest.mark.skipif(ANALYZE is None, reason="there is no systemd-analyze")

MOST_EXPOSURE = {"nfsnitch.service": 3.3, "nfsnitch-early.service": 1.7}
"""Of ten; as docs/privileges.md has it."""


@pytest.fixture(name="installed")
def fixture_installed(tmp_path: Path) -> Path:
    """Return a folder with the units, whose program is one that is there."""
    for unit in UNITS:
        text = (FOLDER / unit).read_text("utf-8")
        assert "/usr/bin/nfsnitch " in text
        (tmp_path / unit).write_text(text.replace("/usr/bin/nfsnitch ", "/usr/bin/env "), "utf-8")
    return tmp_path


def analyze(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ANALYZE), "--no-pager", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_has_nothing_to_say_against_the_units(unit: str, installed: Path) -> None:
    done = analyze("verify", "--man=no", f"./{unit}", folder=installed)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("unit", UNITS)
def test_the_exposure_is_no_more_than_the_documentation_says(unit: str, installed: Path) -> None:
    done = analyze("security", "--offline=yes", f"./{unit}", folder=installed)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)

    assert found, done.stderr
    assert float(found[1]) <= MOST_EXPOSURE[unit]
    documented = (FOLDER.parent / "docs" / "privileges.md").read_text("utf-8")
    assert f"`{unit}` | {found[1]} |" in documented


def test_the_daemon_gets_what_it_needs_to_start_and_the_group_of_its_socket() -> None:
    given = set(settings("nfsnitch.service", "CapabilityBoundingSet"))

    assert given == {each.name for each in AT_START} | {"CAP_CHOWN"}


@pytest.mark.parametrize("unit", UNITS)
def test_neither_may_look_into_other_programs_memory_or_load_modules(unit: str) -> None:
    allowed = allowed_system_calls(unit)

    for name in ("ptrace", "process_vm_writev", "init_module", "mount", "reboot", "kexec_load"):
        assert name not in allowed
    assert "read" in allowed
