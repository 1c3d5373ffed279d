"""A readable account of what was tried, seen and recorded, and which expectations held."""

from __future__ import annotations

import os
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TextIO

from nfsnitch.core.record import Json
from nfsnitch.core.text import shown

WIDTH = 96
_LABEL_WIDTH = 13


class _Style(StrEnum):
    """Terminal attributes by what they are for."""

    HEADING = "1"
    LABEL = "2"
    GOOD = "32"
    BAD = "1;31"


def wants_colour(stream: TextIO, env: Mapping[str, str]) -> bool:
    """Tell whether *stream* is a terminal whose user has not asked for plain text."""
    return stream.isatty() and not env.get("NO_COLOR") and env.get("TERM") != "dumb"


class Story:
    """Writes the account to a stream. Whatever it is given is made fit to be shown first."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._colour = wants_colour(stream, os.environ)
        self.failures: list[str] = []
        """The expectations that did not hold."""
        self.held = 0
        """How many did."""

    def heading(self, text: str) -> None:
        """Begin a section."""
        self._write("")
        self._write(self._styled(_Style.HEADING, shown(text)))

    def say(self, text: str) -> None:
        """Write a paragraph."""
        for line in textwrap.wrap(shown(text), WIDTH):
            self._write(line)

    def command(self, argv: Sequence[str]) -> None:
        """Say what is run."""
        self.fact("run", shlex.join(argv))

    def fact(self, label: str, text: str) -> None:
        """Write what was seen, behind a label."""
        lines = textwrap.wrap(shown(text), WIDTH - _LABEL_WIDTH - 2) or [""]
        for number, line in enumerate(lines):
            head = (label if number == 0 else "").ljust(_LABEL_WIDTH)
            self._write(f"  {self._styled(_Style.LABEL, head)}{line}")

    def record(self, record: Json) -> None:
        """Write what the firewall recorded."""
        rule = record["rule"]
        because = f"rule '{rule}'" if rule else "no rule"
        self.fact(
            "decision",
            f"{record['verdict']} ({record['action']}) by {because}, reason: {record['reason']}; "
            f"held {_milliseconds(record['held_ms'])}",
        )
        self.fact("flow", f"{record['proto']} {_end(record, 's')} -> {_end(record, 'd')}")
        if isinstance(record.get("host"), str):
            self.fact("host", f"{record['host']} ({_source(record)})")
        self.fact("exe", f"{text_of(record['exe'])} (pid {text_of(record['pid'])})")
        self.fact("args", args_of(record))
        self.fact("parent", parent_of(record))
        self.fact("attribution", str(record["attribution"]))

    def check(self, text: str, *, holds: bool, seen: str = "") -> None:
        """Check an expectation; *seen* says what was there instead."""
        if holds:
            self.held += 1
        else:
            text = f"{text}{f' (seen: {seen})' if seen else ''}"
            self.failures.append(text)
        word, style = ("ok", _Style.GOOD) if holds else ("NOT SO", _Style.BAD)
        for number, line in enumerate(textwrap.wrap(shown(text), WIDTH - _LABEL_WIDTH - 2)):
            head = (word if number == 0 else "").ljust(_LABEL_WIDTH)
            self._write(f"  {self._styled(style, head)}{line}")

    def _styled(self, style: _Style, text: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if self._colour else text

    def _write(self, line: str) -> None:
        self._stream.write(f"{line}\n")
        self._stream.flush()


def text_of(value: object) -> str:
    """Return a record's value as text; what is not known says why."""
    if isinstance(value, dict):
        return f"unknown ({value.get('unknown')})"
    return str(value)


def args_of(record: Json) -> str:
    """Return the arguments of a record's owner as one would type them."""
    args = record["args"]
    return shlex.join(args) if isinstance(args, list) else text_of(args)


def parent_of(record: Json) -> str:
    """Return the exe and pid of a record's owner's parent."""
    parents = record["parents"]
    if not isinstance(parents, list):
        return text_of(parents)
    return f"{text_of(parents[0]['exe'])} (pid {parents[0]['pid']})" if parents else "none"


def _source(record: Json) -> str:
    """Return where the record's name came from."""
    name = record["names"][0]
    resolver = f" of {name['resolver']}" if name["resolver"] else ""
    asker = "asked by itself" if name["own"] else "asked by another program"
    return f"{name['source']}{resolver}, {asker}"


def _milliseconds(held_ms: float) -> str:
    return f"{held_ms:.1f} ms" if held_ms < 1000 else f"{held_ms / 1000:.2f} s"  # noqa: PLR2004


def _end(record: Json, side: str) -> str:
    address, port = text_of(record[f"{side}addr"]), text_of(record[f"{side}port"])
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
