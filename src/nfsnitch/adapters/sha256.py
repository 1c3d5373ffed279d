"""SHA-256 by Python's own means: OpenSSL, which `hashlib` prefers, takes up 4 MB of memory."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any


def _of_python() -> Callable[..., Any]:
    for name in ("_sha2", "_sha256"):  # since Python 3.12, before it
        with suppress(ImportError, AttributeError):
            found: Callable[..., Any] = importlib.import_module(name).sha256
            return found
    return importlib.import_module("hashlib").sha256  # type: ignore[no-any-return]


sha256 = _of_python()
"""As `hashlib.sha256`."""
