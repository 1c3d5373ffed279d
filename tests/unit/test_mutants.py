"""The table of mutants: each fault still has its place, and those who should find it are there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.mutants.catalogue import MUTANTS
from lab.mutants.mutant import CORPUS, Mutant

TESTS = Path(__file__).parents[1]


def test_each_fault_can_be_put_in() -> None:
    paths = [str(TESTS), *filter(None, sys.path)]
    done = subprocess.run(
        [sys.executable, "-m", "lab.mutants", "--check"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=lambda mutant: mutant.name)
def test_scenarios_that_should_find_a_mutant_out_are_in_the_corpus(mutant: Mutant) -> None:
    assert mutant.scenarios
    missing = [name for name in mutant.scenarios if not (CORPUS / f"{name}.yaml").is_file()]
    assert missing == []
