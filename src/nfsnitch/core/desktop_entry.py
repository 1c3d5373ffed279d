"""What a ``.desktop`` file says: a program's name for people, its icon, and what is run.

The format is freedesktop's Desktop Entry Specification 1.5. Such a file is text from outside: what
is odd in it makes the entry poorer or none, never an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from nfsnitch.core.text import decoded

MOST_CHARACTERS = 256
"""Of a name or an icon; what is longer is cut, or left away."""
_GROUP = "[Desktop Entry]"
_KEY = re.compile(r"([A-Za-z0-9-]+)(?:\[([^\]]{1,64})\])?\s*=\s*(.*)", re.ASCII | re.DOTALL)
_ESCAPE = re.compile(r"\\([sntr\\])")
_ESCAPES = {"s": " ", "n": "\n", "t": "\t", "r": "\r", "\\": "\\"}
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL)
_LOCALE = re.compile(r"([A-Za-z]+)(?:_([A-Za-z0-9]+))?(?:\.[^@]*)?(?:@(.+))?", re.ASCII)
_MOST_WORDS = 16


class DesktopEntry(NamedTuple):
    """An application as a ``.desktop`` file describes it."""

    name: str
    icon: str | None
    program: str | None
    """What ``Exec`` runs, behind ``env`` and variables: a path, or a name to be looked for."""
    try_program: str | None
    """What ``TryExec`` names."""


def parse(raw: bytes, locale: str = "") -> DesktopEntry | None:
    """Return the application that a file describes, in words of *locale* where it has them.

    *locale* is as in the variable LANG: ``de_AT.UTF-8``. None: it describes none to be shown.
    """
    values = _values(raw, locale)
    if values.get("Type") != "Application" or values.get("Hidden") == "true":
        return None
    name = _unescaped(values.get("Name", "")).strip()
    if not name:
        return None
    icon = _unescaped(values.get("Icon", ""))
    return DesktopEntry(
        name[:MOST_CHARACTERS],
        icon if 0 < len(icon) <= MOST_CHARACTERS else None,
        program_of(_unescaped(values.get("Exec", ""))),
        _unescaped(values.get("TryExec", "")) or None,
    )


def program_of(command: str) -> str | None:
    """Return the program that a value of ``Exec`` runs; None if that cannot be told."""
    words = iter(_words(command))
    word = next(words, None)
    if word is not None and word.rpartition("/")[2] == "env":
        word = next((each for each in words if not _ASSIGNMENT.fullmatch(each)), None)
        if word is not None and word.startswith("-"):
            return None  # options of env(1)
    return word or None


def locales(locale: str) -> tuple[str, ...]:
    """Return the keys' locales that fit, best first, as ``de_AT@euro de_AT de@euro de``."""
    match = _LOCALE.fullmatch(locale)
    if match is None or match[1] in {"C", "POSIX"}:
        return ()
    language, country, modifier = match.groups()
    with_country = f"{language}_{country}" if country else None
    found = (
        f"{with_country}@{modifier}" if with_country and modifier else None,
        with_country,
        f"{language}@{modifier}" if modifier else None,
        language,
    )
    return tuple(each for each in found if each is not None)


def _values(raw: bytes, locale: str) -> dict[str, str]:
    """Return key → value of the group that describes the application, the best locale's."""
    order = ("", *reversed(locales(locale)))
    found: dict[str, tuple[int, str]] = {}
    for key, key_locale, value in _pairs(raw):
        if key_locale not in order:
            continue
        rank = order.index(key_locale)
        if key not in found or rank > found[key][0]:
            found[key] = rank, value
    return {key: value for key, (_, value) in found.items()}


def _pairs(raw: bytes) -> Iterator[tuple[str, str, str]]:
    inside = False
    for line in decoded(raw).split("\n"):
        if line.startswith("["):
            if inside:
                return
            inside = line.rstrip() == _GROUP
        elif inside and (match := _KEY.fullmatch(line.rstrip("\r"))) is not None:
            yield match[1], match[2] or "", match[3].rstrip()


def _unescaped(value: str) -> str:
    return _ESCAPE.sub(lambda match: _ESCAPES[match[1]], value)


def _words(command: str) -> Sequence[str]:
    """Return the first words of a command line, quoted as the specification has it."""
    words: list[str] = []
    word, quoted, at = "", False, 0
    while at < len(command) and len(words) < _MOST_WORDS:
        character = command[at]
        if quoted and character == "\\" and at + 1 < len(command):
            at += 1
            word += command[at]
        elif character == '"':
            quoted = not quoted
        elif character in " \t\n" and not quoted:
            words += [word] if word else []
            word = ""
        else:
            word += character
        at += 1
    return [*words, word] if word and not quoted else words
