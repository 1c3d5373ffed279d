"""Names, and the lines of lists, as records and questions have them."""

from __future__ import annotations

from typing import Any

from nfsnitch.core.listing import Entry
from nfsnitch.core.name import Name, Names

Json = dict[str, Any]

MOST_CHARACTERS = 255
"""Of a name: those of hosts have no more; others are odd, and longer for their escapes."""
MOST_ALIASES = 8
"""Of one name; the last ones, which lead to the address."""
_NS_PER_S = 1_000_000_000


def names_json(names: Names, now_ns: int) -> Json:
    """Return what a record says of the host at a moment (monotonic).

    ``host`` is its one name, ``{"ambiguous": [...]}`` or ``{"unknown": reason}``; ``names`` says of
    each where it came from, and is left away where there are none.
    """
    each = [name_json(name, now_ns) | {"own": name.own} for name in names.names]
    if not each:
        return {"host": {"unknown": names.why_none}}
    texts = [row["name"] for row in each]
    return {"host": {"ambiguous": texts} if names.is_ambiguous else texts[0], "names": each}


def name_json(name: Name, now_ns: int) -> Json:
    """Return a name, and where it came from, at a moment (monotonic)."""
    return {
        "name": cut(name.text),
        "source": name.source.value,
        "age_s": round(max(0, now_ns - name.known_ns) / _NS_PER_S, 3),
        "ttl_s": name.ttl_s,
        "stale": name.is_stale(now_ns),
        "resolver": name.resolver,
        "aliases": list(map(cut, name.aliases[-MOST_ALIASES:])),
    }


def entry_json(entry: Entry | None) -> Json:
    """Return by which line of which list a rule matched; nothing where by none."""
    if entry is None:
        return {}
    return {"list": {"name": entry.list_name, "line": entry.line, "entry": cut(entry.text)}}


def cut(text: str) -> str:
    """Return a name that is not longer than any host's."""
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"
