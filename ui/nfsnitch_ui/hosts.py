"""By which names the destination of a flow was looked for, and where they came from."""

from __future__ import annotations

from collections.abc import Iterator

from nfsnitch_ui.facts import Fact, Json, known, part, why_unknown
from nfsnitch_ui.i18n import _, counted
from nfsnitch_ui.text import middle

_MOST_NAMES = 3
_MOST_LISTED = 8
_MOST_ALIASES = 4
_MINUTE_S, _HOUR_S = 60, 3600


def host(flow: Json) -> str | None:
    """Return the one name that is known; None if there is none, or several."""
    return known(flow.get("host"))


def ambiguous(flow: Json) -> str | None:
    """Return several names of which one is meant, as in ``a.example or b.example``."""
    names = part(flow.get("host")).get("ambiguous")
    if not isinstance(names, list) or not names:
        return None
    some = [middle(known(each) or "?", 60) for each in names[:_MOST_NAMES]]
    if len(names) > len(some):
        some.append(counted("{n} other", "{n} others", len(names) - len(some)))
    return _(" or ").join(some)


def host_facts(flow: Json) -> Iterator[Fact]:
    """Say which name it has, and where each one came from."""
    name, several = host(flow), ambiguous(flow)
    if name is not None:
        yield Fact(_("Host"), name)
    elif several is not None:
        yield Fact(_("Host"), _("ambiguous: {names}").format(names=several), is_loud=True)
    elif "host" in flow:
        yield Fact(_("Host"), why_unknown(flow.get("host")), is_known=False)
    names = flow.get("names")
    for each in names[:_MOST_LISTED] if isinstance(names, list) else ():
        text = middle(known(part(each).get("name")) or "?", 80)
        origin = _origin(each)
        yield Fact(_("Name"), origin if text == name else f"{text}: {origin}")


def _origin(name: object) -> str:
    row = part(name)
    parts = [_source(row)]
    resolver = known(row.get("resolver"))
    if resolver:
        parts.append(_("{address} answered").format(address=resolver))
    age_s = row.get("age_s")
    if isinstance(age_s, int | float):
        parts.append(_("{time} ago").format(time=_time(age_s)))
    if row.get("stale") is True:
        parts.append(_("stale since"))
    aliases = row.get("aliases")
    if isinstance(aliases, list) and aliases:
        texts = (middle(known(each) or "?", 80) for each in aliases[-_MOST_ALIASES:])
        parts.append(_("an alias of {names}").format(names=", ".join(texts)))
    return ", ".join(parts)


def _source(row: Json) -> str:
    source = row.get("source")
    by_others = {"dns": _("another program asked DNS"), "libc": _("another program asked libc")}
    own = {
        "dns": _("the program asked DNS"),
        "libc": _("the program asked libc"),
        "tls": _("in its first data (TLS)"),
        "quic": _("in its first data (QUIC)"),
        "http": _("in its first data (HTTP)"),
    }
    words = own if row.get("own") is True else own | by_others
    return words.get(str(source), known(source) or "?")


def _time(seconds: float) -> str:
    if seconds < 2 * _MINUTE_S:
        return _("{n} s").format(n=round(seconds))
    if seconds < 2 * _HOUR_S:
        return _("{n} min").format(n=round(seconds / _MINUTE_S))
    return _("{n} h").format(n=round(seconds / _HOUR_S))
