"""Parsers for names of hosts, and for what rules say about names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import NamedTuple

from nfsnitch.adapters.rulefile.problems import Refused, closest, listed, quoted
from nfsnitch.adapters.rulefile.values import GroupKind, Known, duration_in_ns
from nfsnitch.core.decision import Action
from nfsnitch.core.listing import NamedList
from nfsnitch.core.name_conditions import HostNames
from nfsnitch.core.rule import AtQuestion

_WILD = "*."
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_MAX_CHARACTERS = 253
"""Of a name in its textual form (RFC 1035, 2.3.4)."""
_MOST_KEPT_NS = 86_400_000_000_000
_SKIP = "skip"
ON_UNKNOWN_NAME = {_SKIP: None, **{each.value: each for each in Action if each is not Action.ALLOW}}
"""What may stand for an unknown name → what becomes of the flow; None: the rule is passed by."""
_AT_QUESTION = {each.value: each for each in AtQuestion}
_BOOLEANS = {"true": True, "false": False}


class HostValue(NamedTuple):
    """A name in a rule."""

    name: str
    """In A-labels, in lower case."""
    is_below: bool
    """All names below it are meant, and not itself."""


def parse_host(text: str, known: Known) -> Sequence[HostValue]:
    """Return a name, the names below one, or those of a group."""
    if (group := known.group(text, GroupKind.HOSTS)) is not None:
        return group
    is_below = text.startswith(_WILD)
    name = text.removeprefix(_WILD)
    if "*" in name or not name:
        instead = f"write {quoted('*.example.org')}, and {quoted('example.org')} beside it for both"
        raise Refused("a * stands at the beginning alone, for all that is below a name", instead)
    return (HostValue(_host_name(name), is_below),)


def host_names(parsed: Iterable[HostValue]) -> HostNames:
    """Return all names that a rule wants."""
    values = tuple(parsed)
    return HostNames(
        frozenset(each.name for each in values if not each.is_below),
        frozenset(each.name for each in values if each.is_below),
    )


def _host_name(text: str) -> str:
    name = text.removesuffix(".").lower()
    if _is_address(name):
        raise Refused("this is an address, not a name", f"write daddr: {text}")
    if text.startswith("."):
        instead = f"write {quoted('*' + text)} for what is below it, {quoted(text[1:])} for itself"
        raise Refused("a name does not begin with a dot", instead)
    if not name.isascii():
        name = _in_a_labels(name)
    if len(name) > _MAX_CHARACTERS or not all(map(_LABEL.fullmatch, name.split("."))):
        why = "a name is labels of letters, digits, - and _ with dots between them"
        raise Refused(why, "write it as in www.example.org, without http:// and port")
    return name


def _in_a_labels(name: str) -> str:
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError:
        raise Refused("this is no name that DNS can have", "write its xn-- form") from None


def _is_address(text: str) -> bool:
    try:
        ip_address(text.strip("[]"))
    except ValueError:
        return False
    return True


def parse_list(text: str, known: Known) -> tuple[NamedList]:
    """Return the list of that name."""
    found = known.lists.get(text)
    if found is None:
        hint = "define it under lists:, as in ads: {file: /etc/nfsnitch/ads.txt}"
        raise Refused("there is no such list", closest(text, known.lists, hint))
    return (found,)


def parse_on_unknown_name(text: str) -> Action | None:
    """Return what becomes of a flow whose name cannot be told; None: the rule is passed by."""
    if text not in ON_UNKNOWN_NAME:
        hint = f"write {listed(ON_UNKNOWN_NAME)}"
        why = f"it is one of {', '.join(ON_UNKNOWN_NAME)}"
        if text == Action.ALLOW:
            hint = "write a rule of its own behind this one for what may go out"
        raise Refused(why, closest(text, ON_UNKNOWN_NAME, hint))
    return ON_UNKNOWN_NAME[text]


def parse_at_question(text: str) -> AtQuestion:
    """Return what becomes of the question for a name."""
    if text not in _AT_QUESTION:
        why = f"it is one of {', '.join(_AT_QUESTION)}"
        raise Refused(why, closest(text, _AT_QUESTION, f"write {listed(_AT_QUESTION)}"))
    return _AT_QUESTION[text]


def parse_keep_ns(text: str) -> int:
    """Return how long names count after their time."""
    duration_ns = duration_in_ns(text)
    if duration_ns > _MOST_KEPT_NS:
        raise Refused("addresses change hands: a day is the most", "write 24h or less")
    return duration_ns


def parse_switch(text: str) -> bool:
    """Return whether something is to be done."""
    if text not in _BOOLEANS:
        raise Refused("it is one of true, false", "write true or false")
    return _BOOLEANS[text]
