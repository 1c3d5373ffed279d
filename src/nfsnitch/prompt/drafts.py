"""What is edited at the prompter, and where it stays if it is not taken."""

from __future__ import annotations

import os
from collections.abc import Callable

from nfsnitch.core.text import shown
from nfsnitch.prompt.editor import Draft, EditorError


def edited(text: str, tell: Callable[[str], None]) -> str | None:
    """Let the person edit a text; None if that did not work, which *tell* hears about."""
    try:
        draft = Draft(text)
    except OSError as error:
        tell(f"nothing can be edited: {error.strerror or error}")
        return None
    try:
        changed = draft.edit()
    except EditorError as error:
        tell(f"{error}; see {shown(os.fspath(draft.path))}")
        return None
    draft.forget()
    return changed


def kept(text: str) -> str:
    """Write a text to a file of its own, and return where; the reason, if that does not work."""
    try:
        return os.fspath(Draft(text).path)
    except OSError as error:
        return f"no file: {error.strerror or error}"
