"""Has a person edit a text in their own editor."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from nfsnitch.core.text import shown

_USUAL = ("editor", "sensible-editor", "vi", "nano")
_MOST_BYTES = 1 << 20
"""Nobody writes rules that long."""


class EditorError(Exception):
    """The text could not be edited; the message says why."""


class Draft:
    """A text in a file of its own, which stays until `forget`: nothing that was typed is lost."""

    def __init__(self, text: str) -> None:
        """Write the text to a new file that only this user can read."""
        descriptor, name = tempfile.mkstemp(prefix="nfsnitch-rule-", suffix=".yaml")
        self.path = Path(name)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)

    def edit(self) -> str:
        """Let the person edit it, and return what it is then.

        Raises:
            EditorError: there is no editor, it has failed, or what it has left is no text.

        """
        command = [*editor_command(os.environ), os.fspath(self.path)]
        try:
            status = subprocess.run(command, check=False).returncode
        except OSError as error:
            raise EditorError(f"{shown(command[0])}: {error.strerror or error}") from error
        if status != 0:
            raise EditorError(f"{shown(command[0])} has failed (exit status {status})")
        try:
            with self.path.open("rb") as file:
                return file.read(_MOST_BYTES).decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise EditorError(f"what the editor has left cannot be read: {error}") from error

    def forget(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)


def editor_command(environment: Mapping[str, str]) -> list[str]:
    """Return the person's editor as a command: $VISUAL, $EDITOR, or one that is there.

    Raises:
        EditorError: there is none.

    """
    for name in ("VISUAL", "EDITOR"):
        try:
            command = shlex.split(environment.get(name, ""))
        except ValueError as error:
            raise EditorError(f"${name} makes no sense: {error}") from error
        if command:
            return command
    for name in _USUAL:
        if shutil.which(name) is not None:
            return [name]
    raise EditorError("there is no editor: set $EDITOR")
