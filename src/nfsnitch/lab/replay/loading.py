"""Rule files, and the lists that they name, as far as those are on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from nfsnitch.adapters import rulefile
from nfsnitch.adapters.lists.helper_process import messages, started
from nfsnitch.adapters.lists.messages import Done, Failed, Job, Progress
from nfsnitch.adapters.lists.shelf import FOLDER, Key, Shelf, key_of
from nfsnitch.core.listing import NamedList
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.core.text import shown
from nfsnitch.lab.replay.case import BadInputError
from nfsnitch.lab.replay.notes import Notes
from nfsnitch.lists.compiled import CompiledContent, Content
from nfsnitch.lists.layout import SpoiledError


def load(paths: Sequence[Path], state: Path, notes: Notes) -> Ruleset:
    """Return the rules of *paths*, with their lists.

    Local lists are read; of those from the network what a daemon keeps below *state* is taken. What
    is not there is told in *notes*: nothing is known to be on such a list then.

    Raises:
        BadInputError: something is wrong with the rules.

    """
    try:
        ruleset = rulefile.load(paths, rulefile.system_names())
    except rulefile.RuleFileError as error:
        raise BadInputError(str(error)) from error
    for named in ruleset.lists:
        _fill(named, state, notes)
    return ruleset


def _fill(named: NamedList, state: Path, notes: Notes) -> None:
    key = key_of(named.definition)
    try:
        found = _kept(key, state) if key.is_url else _read(key)
    except (OSError, SpoiledError) as problem:
        why = shown(str(problem))
    else:
        if found is not None:
            named.content = CompiledContent(named.definition.name, found)
        why = "it comes from the network, and no daemon has kept it here"
    if named.content is None:
        name = shown(named.definition.name)
        notes.problem(f"list {name}: {why}; nothing is known to be on it")


def _kept(key: Key, state: Path) -> Content | None:
    shelved = Shelf(state / FOLDER).mapped(key)
    return None if shelved is None else shelved.content


def _read(key: Key) -> Content:
    """Compile a local list in the same process of its own as a daemon does.

    Raises:
        OSError: it cannot be read, or would not be taken; the message says why.
        SpoiledError: what was compiled cannot be used.

    """
    with tempfile.TemporaryDirectory() as folder:
        shelf = Shelf(Path(folder))
        with shelf.new_files(key) as files:
            job = Job(files.text_fd, files.out_fd, format=key.format, sha256=key.sha256)
            said: Done | Failed = Failed("nothing was said")
            for message in messages(started(job)):
                if not isinstance(message, Progress):
                    said = message
            if isinstance(said, Failed):
                raise OSError(said.why)
            return shelf.put(key, files).content
