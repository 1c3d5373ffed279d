"""The values of a record's JSON, which anybody may have written."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

from nfsnitch.core.unknown import Unknown

Json = Mapping[str, Any]
E = TypeVar("E", bound=StrEnum)

_MOST_REASON = 1_000
"""Characters of a reason that are kept."""


class UnreadableError(Exception):
    """It is no record; the message says why, and quotes nothing of it."""


def text(document: Json, field: str) -> str:
    """Return a text.

    Raises:
        UnreadableError: there is none. So do all functions of this module.

    """
    value = document.get(field)
    if not isinstance(value, str):
        raise UnreadableError(f"{field} is {'missing' if value is None else 'no text'}")
    return value


def integer(document: Json, field: str) -> int:
    """Return an integer from 0 on."""
    value = document.get(field)
    if not isinstance(value, int) or isinstance(value, bool):
        raise UnreadableError(f"{field} is {'missing' if value is None else 'no integer'}")
    if value < 0:
        raise UnreadableError(f"{field} is negative")
    return value


def flag(document: Json, field: str) -> bool:
    """Return true or false."""
    value = document.get(field)
    if not isinstance(value, bool):
        raise UnreadableError(f"{field} is neither true nor false")
    return value


def choice(document: Json, field: str, choices: type[E]) -> E:
    """Return one of the words that *choices* has."""
    try:
        return choices(text(document, field))
    except ValueError:
        raise UnreadableError(f"{field} is none of those that are known here") from None


def unknown_in(document: Json, field: str) -> Unknown | None:
    """Return why a value is not known; None: it is, or is missing."""
    value = document.get(field)
    if not isinstance(value, Mapping):
        return None
    reason = value.get("unknown")
    return Unknown(reason[:_MOST_REASON]) if isinstance(reason, str) else None


def known_text(document: Json, field: str) -> str | Unknown:
    """Return a text, or why it is not known."""
    unknown = unknown_in(document, field)
    return text(document, field) if unknown is None else unknown


def known_integer(document: Json, field: str) -> int | Unknown:
    """Return an integer, or why it is not known."""
    unknown = unknown_in(document, field)
    return integer(document, field) if unknown is None else unknown
