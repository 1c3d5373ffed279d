"""What the daemon lists: replies with rows, as many as fit at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Silenced:
    """What would have been asked, the latest last."""

    type: ClassVar[str] = "silenced"

    total: int
    rows: tuple[dict[str, Any], ...]
    """Each has the fields of `Asked`."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Some rules."""

    type: ClassVar[str] = "rules"

    generation: int
    total: int
    """Of this kind."""
    rows: tuple[dict[str, Any], ...]
    """Each: name, action, kind, enabled (bool), expired (bool), note (text or null), origin
    (file:line or null), until (time or null), left_s (number or null), process (pid or null: it
    ends with that process), rule (its YAML, or null if that cannot be shown)."""


@dataclass(frozen=True, slots=True)
class History:
    """Some records, the latest last."""

    type: ClassVar[str] = "history"

    first: int
    """The number of the first one here; they are numbered from 1, one by one."""
    rows: tuple[dict[str, Any], ...]
    """As `Recorded` has them, but for what is longer than anybody reads: that is cut, as it is in
    `Asked`."""


@dataclass(frozen=True, slots=True)
class Connections:
    """The connections under way."""

    type: ClassVar[str] = "connections"

    total: int
    """How many there are; not all may be listed."""
    rows: tuple[dict[str, Any], ...]
    """Each: the flow and owner as in a record, iface, and passes (bool): further packets of it are
    not judged."""


@dataclass(frozen=True, slots=True)
class KnownNames:
    """Some of the names of addresses that are known."""

    type: ClassVar[str] = "names"

    total: int
    rows: tuple[dict[str, Any], ...]
    """Each: name, source, age_s, ttl_s, stale, resolver and aliases as in a record; address; pid,
    start_time, exe (of the process that has asked), uid, netns; and counts_s, for how long it will
    count still, stale or not."""


@dataclass(frozen=True, slots=True)
class Lists:
    """How the lists are that rules use."""

    type: ClassVar[str] = "lists"

    total: int
    rows: tuple[dict[str, Any], ...]
    """Each: name, where, format; names and networks, how many it has (null: there is none yet);
    age_s, since its text was read; checked_s, since it was last known to be up to date; due_s,
    until it is looked at again (each may be null); problem (text or null); errors, unsupported,
    how many lines; waits (bool): it is next; phase (fetching, reading, compiling or null), done and
    total (may be null)."""


@dataclass(frozen=True, slots=True)
class Listed:
    """On which lists it is."""

    type: ClassVar[str] = "listed"

    rows: tuple[dict[str, Any], ...]
    """Each: list, line (from 1), text (what is listed there)."""
    missing: tuple[str, ...]
    """Names of lists of which there is nothing yet."""
