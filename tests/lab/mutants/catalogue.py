"""All mutants: importing this makes the table whole."""

from __future__ import annotations

from lab.mutants import asking, counting, in_the_kernel, owners, packets, records, ruling, verdicts
from lab.mutants.mutant import MUTANTS

__all__ = ["MUTANTS"]

_PARTS = (verdicts, ruling, owners, asking, records, in_the_kernel, packets, counting)
"""What they are wrong in."""
