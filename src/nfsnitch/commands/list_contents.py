"""What is on the lists that rules name, for commands that ask the rules beside the daemon."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from nfsnitch.adapters.lists.helper_process import messages, started
from nfsnitch.adapters.lists.messages import Failed, Job
from nfsnitch.adapters.lists.shelf import (
    FOLDER,
    Key,
    Shelf,
    Shelved,
    key_of,
    mapped_file,
    opened_text,
    stamp_of,
)
from nfsnitch.core.listing import NamedList
from nfsnitch.core.text import shown
from nfsnitch.lists.compiled import CompiledContent
from nfsnitch.lists.layout import SpoiledError


def fill(lists: Iterable[NamedList], state: Path) -> Iterator[str]:
    """Give *lists* their content, and yield for people why one stays without.

    What the daemon has compiled in the directory *state* is used as it is; a file that it has not
    compiled, or that has changed since, is read now. Nothing is fetched.
    """
    shelf = Shelf(state / FOLDER)
    for named in lists:
        key = key_of(named.definition)
        try:
            shelved = _compiled(shelf, key) or (None if key.is_url else _read_now(key))
        except (OSError, SpoiledError) as problem:
            yield f"{_called(named)}: {shown(str(problem))}"
            continue
        if shelved is None:
            yield f"{_called(named)}: it has not been fetched yet"
        else:
            named.content = CompiledContent(named.definition.name, shelved.content)


def _called(named: NamedList) -> str:
    return f"what is on list {shown(named.definition.name)} is not known"


def _compiled(shelf: Shelf, key: Key) -> Shelved | None:
    """Return what the daemon has compiled; None if that is not there, or too old."""
    try:
        shelved = shelf.mapped(key)
    except PermissionError:
        if key.is_url:
            raise
        return None
    except SpoiledError:
        return None
    if shelved is None or key.is_url:
        return shelved
    stamp = stamp_of(key.where)
    return shelved if stamp is not None and shelved.is_of(stamp) else None


def _read_now(key: Key) -> Shelved:
    text_fd, _ = opened_text(key.where)
    try:
        with tempfile.TemporaryFile() as out:
            job = Job(text_fd, out.fileno(), format=key.format, sha256=key.sha256)
            for message in messages(started(job)):
                if isinstance(message, Failed):
                    raise OSError(message.why)
            return mapped_file(out.fileno())
    finally:
        os.close(text_fd)
