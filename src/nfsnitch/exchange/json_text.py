"""JSON from anybody: bounded before it is parsed, and one kind of error for all that is wrong."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from nfsnitch.adapters.rulefile.problems import quoted

MAX_CHARACTERS = 16 << 20
MAX_DEPTH = 32
"""Rules need 6."""

_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


class NotReadableError(ValueError):
    """A text that is no JSON, or too much of it; the message is for people."""


def parse(text: str) -> Any:  # noqa: ANN401  JSON can be anything
    """Return what *text* says; of keys that a mapping has twice the last one counts.

    Raises:
        NotReadableError: it says nothing that can be used.

    """
    if len(text) > MAX_CHARACTERS:
        raise NotReadableError(f"it has more than {MAX_CHARACTERS >> 20} Mi characters")
    if _depth(text) > MAX_DEPTH:  # the parser calls itself for each level
        raise NotReadableError(f"it is nested deeper than {MAX_DEPTH} levels")
    try:
        return json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        why = f"it is no JSON: line {error.lineno}, column {error.colno}: {error.msg}"
        raise NotReadableError(why) from None
    except ValueError as error:  # a number of thousands of digits
        raise NotReadableError(f"it is no JSON: {quoted(str(error))}") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _depth(text: str) -> int:
    deepest = depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        first = match[0][0]
        if first != '"':
            depth += 1 if first in "[{" else -1
            deepest = max(deepest, depth)
    return deepest
