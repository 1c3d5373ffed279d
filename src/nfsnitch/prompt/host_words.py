"""The names of a destination in words, as far as any are known; made harmless and kept short."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nfsnitch.core.text import counted, shown
from nfsnitch.prompt.columns import without_middle

_NAME_CHARACTERS = 100
_MOST_NAMES = 3
_MOST_ALIASES = 4
_SOURCES = {
    "dns": "by DNS",
    "libc": "by the C library",
    "tls": "in the first data (TLS)",
    "quic": "in the first data (QUIC)",
    "http": "in the first data (HTTP)",
}
_MINUTE_S, _HOUR_S = 60, 3_600


def host_name(flow: Mapping[str, Any]) -> str | None:
    """Return the one name of a destination; None if there is none, or several."""
    host = flow.get("host")
    return short_name(host) if isinstance(host, str) else None


def host_names(flow: Mapping[str, Any]) -> str | None:
    """Return several names, one of which is meant, as in ``a.example or b.example``."""
    host = flow.get("host")
    names = host.get("ambiguous") if isinstance(host, dict) else None
    if not isinstance(names, list) or not names:
        return None
    some = [short_name(str(name)) for name in names[:_MOST_NAMES]]
    more = len(names) - len(some)
    return " or ".join([*some, counted(more, "other")] if more else some)


def name_lines(flow: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each name, and where it came from."""
    names = flow.get("names")
    for name in names if isinstance(names, list) else ():
        if isinstance(name, dict):
            yield short_name(str(name.get("name"))), _origin(name)


def why_none(flow: Mapping[str, Any]) -> str | None:
    """Return why no name is known; None if one is."""
    host = flow.get("host")
    why = host.get("unknown") if isinstance(host, dict) else None
    return shown(why[:_NAME_CHARACTERS]) if isinstance(why, str) else None


def short_name(text: str) -> str:
    """Return a name that nobody need be afraid of."""
    return shown(without_middle(text, _NAME_CHARACTERS))


def age(seconds: float) -> str:
    """Return a length of time in one unit."""
    if seconds < 2 * _MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR_S:
        return f"{seconds / _MINUTE_S:.0f} min"
    return f"{seconds / _HOUR_S:.0f} h"


def _origin(name: Mapping[str, Any]) -> str:
    source = name.get("source")
    words = _SOURCES.get(str(source), shown(str(source)[:_NAME_CHARACTERS]))
    if str(source) in {"dns", "libc"}:
        asker = "it asked" if name.get("own") is True else "another program asked"
        words = f"{asker} {words}"
    resolver, aged = name.get("resolver"), name.get("age_s")
    if isinstance(resolver, str):
        words += f", {short_name(resolver)} answered"
    if isinstance(aged, int | float):
        words += f" {age(aged)} ago"
    if name.get("stale") is True:
        words += ", stale since"
    aliases = name.get("aliases")
    if isinstance(aliases, list) and aliases:
        words += (
            f", alias of {', '.join(short_name(str(each)) for each in aliases[-_MOST_ALIASES:])}"
        )
    return words
