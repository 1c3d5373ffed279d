"""All ways out, in the order of the table in docs/ways-out.md."""

from __future__ import annotations

from ways import handed, kernels, programs, sockets
from ways.stage import Way

WAYS: tuple[Way, ...] = (*sockets.WAYS, *handed.WAYS, *programs.WAYS, *kernels.WAYS)
