"""Whether a value of a record is the one that a scenario expects.

Wanted values come from a file, where all is text but for a `Range`: ``"80"`` is the number 80 where
a record has a number, and ``"*"`` in a text stands for anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nfsnitch.core.text import shown
from nfsnitch.lab.scenario.model import Range

_MOST_SHOWN = 160
_WORDS = {True: "true", False: "false", None: "null"}
_VERDICTS = {"allow": "accept", "deny": "drop"}
"""What rules call it → what records call it; both may be expected of a verdict."""

Json = Mapping[str, Any]


class _Absent:
    """Stands for a value that a record does not have."""


ABSENT = _Absent()


def value_at(record: Json, name: str) -> Any:  # noqa: ANN401  a record's values are of many types
    """Return the value called *name*, ``parents.0.exe`` looking into lists and mappings."""
    value: Any = record
    for part in [name] if name in record else name.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return ABSENT
    return value


def differing(record: Json, wanted: Json) -> list[str]:
    """Return the names of the values that are not as *wanted*."""
    return [name for name, want in wanted.items() if not _fits(record, name, want)]


def fits(value: Any, want: Any) -> bool:  # noqa: ANN401
    """Tell whether *value* is as wanted."""
    if isinstance(value, _Absent):
        return False
    if isinstance(want, Range):
        return _is_number(value) and value in want
    if isinstance(want, Mapping):
        return isinstance(value, Mapping) and not differing(value, want)
    if isinstance(want, Sequence) and not isinstance(want, str):
        return _is_same_list(value, want)
    if isinstance(want, str):
        return _fits_text(value, want)
    return bool(value == want and isinstance(value, bool) == isinstance(want, bool))


def instead(record: Json, names: Iterable[str]) -> str:
    """Return what a record has under these *names*, as ``name value, name value``."""
    return ", ".join(f"{shown(name)} {text_of(value_at(record, name))}" for name in names)


def wanted_text(wanted: Json) -> str:
    """Return what is wanted as ``name value, name value``."""
    return ", ".join(f"{shown(name)} {text_of(want)}" for name, want in wanted.items())


def text_of(value: Any) -> str:  # noqa: ANN401
    """Return a value fit to be shown, and not too long."""
    if isinstance(value, _Absent):
        return "(not there)"
    if isinstance(value, Range):
        return value.text
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    text = shown(text)
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 1]}…"


def _fits(record: Json, name: str, want: Any) -> bool:  # noqa: ANN401
    if name == "verdict" and isinstance(want, str):
        want = _VERDICTS.get(want, want)
    return fits(value_at(record, name), want)


def _is_number(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_same_list(value: Any, want: Sequence[Any]) -> bool:  # noqa: ANN401
    if not isinstance(value, list | tuple) or len(value) != len(want):
        return False
    return all(fits(each, wanted) for each, wanted in zip(value, want, strict=True))


def _fits_text(value: Any, want: str) -> bool:  # noqa: ANN401
    if isinstance(value, str):
        return is_like(value, want)
    if value is None or isinstance(value, bool):
        return _WORDS[value] == want
    if not _is_number(value):
        return False
    try:
        return bool(value == float(want))
    except ValueError:
        return False


def is_like(text: str, want: str) -> bool:
    """Tell whether *text* is *want*, in which ``*`` stands for any text."""
    pattern = ".*".join(map(re.escape, want.split("*")))
    return re.fullmatch(pattern, text, re.DOTALL) is not None
