"""What bcc has compiled, kept for the next start on the same kernel.

One file for each set of sources, headers and compiler, in a folder that root alone can write to:
its name is a hash of all that went in, so nothing in it is ever out of date. Whatever is wrong with
a file or with the folder, the programs are compiled again.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

FOLDER = Path("/var/cache/nfsnitch")
VARIABLE = "CACHE_DIRECTORY"
"""Environment variable with another folder; systemd sets it (systemd.exec(5), CacheDirectory=)."""
KEPT = 4
"""How many files stay: those of the latest kernels and versions."""
_MADE_FOR_A_KERNEL = (
    "Module.symvers",  # has a checksum of each type that a module can meet
    "include/generated/autoconf.h",
    "include/generated/utsrelease.h",
    "include/generated/uapi/linux/version.h",
)
_WRITABLE_BY_OTHERS = 0o022


class Parts(NamedTuple):
    """Instructions by function, before they are linked."""

    programs: dict[str, bytes]
    section: bytes
    """Of all subprograms."""
    calls: bytes
    """Of the function that calls each subprogram."""


def key_of(text: str, sources: Path, headers: Path) -> str:
    """Return the name for what is compiled of *text*, the folder *sources* and *headers*."""
    found = hashlib.sha256()
    with suppress(importlib.metadata.PackageNotFoundError):
        found.update(importlib.metadata.version("bcc").encode())
    parts = [text.encode()]
    parts += [each.read_bytes() for each in sorted(_source_files(sources))]
    if headers.is_file():
        parts.append(headers.read_bytes())
    for name in _MADE_FOR_A_KERNEL:
        with suppress(OSError):
            parts.append((headers / name).read_bytes())
    for each in parts:
        found.update(hashlib.sha256(each).digest())
    return found.hexdigest()


def find(key: str) -> Parts | None:
    """Return what is kept under *key*, None if there is nothing, or nothing that can be trusted."""
    path = _path(key)
    try:
        if not (_is_ours(path.parent) and _is_ours(path)):
            return None
        fields = json.loads(path.read_bytes())
        return Parts(
            {name: base64.b64decode(code) for name, code in fields["programs"].items()},
            base64.b64decode(fields["section"]),
            base64.b64decode(fields["index"]),
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def keep(key: str, parts: Parts) -> None:
    """Keep *parts*, if there is a place for them."""
    path = _path(key)
    fields = {
        "programs": {name: _text(code) for name, code in parts.programs.items()},
        "section": _text(parts.section),
        "index": _text(parts.calls),
    }
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_ours(path.parent):
            return
        new = path.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps(fields), "ascii")
        new.rename(path)
        others = {each for each in path.parent.glob("bcc-*") if each != path}
        for each in sorted(others, key=lambda each: each.stat().st_mtime)[: -(KEPT - 1)]:
            each.unlink()


def _path(key: str) -> Path:
    return Path(os.environ.get(VARIABLE) or FOLDER) / f"bcc-{key}.json"


def _is_ours(path: Path) -> bool:
    """Whether nobody else can have written it."""
    there = path.stat()
    return there.st_uid == os.geteuid() and not there.st_mode & _WRITABLE_BY_OTHERS


def _source_files(folder: Path) -> Iterable[Path]:
    return (*folder.glob("*.bpf.c"), *folder.glob("*.h"))


def _text(code: bytes) -> str:
    return base64.b64encode(code).decode("ascii")
