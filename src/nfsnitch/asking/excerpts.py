"""What rules say that people have written to rule files: cut out of the files as they are now."""

from __future__ import annotations

import os
import stat
import textwrap
from collections.abc import Sequence
from pathlib import Path

from nfsnitch.core.rule import Rule

_MOST_BYTES = 4 << 20
_MOST_CHARACTERS = 2_000


def excerpts(
    rules: Sequence[Rule], following: Rule | None, *, for_root: bool = True
) -> dict[str, str]:
    """Return name → YAML of *rules*, which stand one after the other; *following* comes next.

    Waits for the disk. A rule is left out whose file has changed since, or is laid out in a way
    that its lines cannot be told, or is not for everybody to read unless it is *for_root*.
    """
    found: dict[str, str] = {}
    lines_of: dict[str, list[str]] = {}
    for rule, after in zip(rules, [*rules[1:], following], strict=False):  # there may be none
        name, line = _place(rule)
        if name not in lines_of:
            lines_of[name] = _lines(name, for_root=for_root)
        after_name, after_line = _place(after) if after is not None else ("", 0)
        end = after_line - 1 if after_name == name else None
        text = _cut(lines_of[name][line - 1 : end])
        if text is not None and rule.name in text:
            found[rule.name] = text
    return found


def _place(rule: Rule) -> tuple[str, int]:
    name, _, line = rule.origin.rpartition(":")
    return name, int(line) if line.isdecimal() else 0


def _lines(name: str, *, for_root: bool) -> list[str]:
    try:
        with Path(name).open("rb") as file:
            if not for_root and not os.fstat(file.fileno()).st_mode & stat.S_IROTH:
                return []
            raw = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError):
        return []
    return [] if len(raw) > _MOST_BYTES else raw.decode("utf-8", "replace").splitlines()


def _cut(lines: Sequence[str]) -> str | None:
    """Return the rule that *lines* begin with: its own lines are indented more than its dash."""
    if not lines or not lines[0].lstrip().startswith("- "):
        return None
    dash = len(lines[0]) - len(lines[0].lstrip())
    own = [f"{lines[0][:dash]} {lines[0][dash + 1 :]}"]
    for line in lines[1:]:
        if line.strip() and len(line) - len(line.lstrip()) <= dash:
            break
        own.append(line)
    text = textwrap.dedent("\n".join(own)).strip("\n")
    return f"{text}\n" if len(text) <= _MOST_CHARACTERS else None
