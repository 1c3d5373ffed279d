"""The lists of domains and networks that a rule file speaks of: where they are, not what is in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from nfsnitch.adapters.rulefile.document import Mapping as MappingNode
from nfsnitch.adapters.rulefile.document import Node, Scalar, kind
from nfsnitch.adapters.rulefile.identity_values import parse_sha256_text
from nfsnitch.adapters.rulefile.problems import Position, Problems, Refused, closest, listed, quoted
from nfsnitch.adapters.rulefile.values import is_group_name
from nfsnitch.core.listing import ListDefinition, ListFormat, NamedList

MOST_LISTS = 256
_EXAMPLE = "ads: {file: /etc/nfsnitch/ads.txt}"
_DURATION = re.compile(r"([1-9][0-9]{0,4})(m|h|d)", re.ASCII)
_UNIT_S = {"m": 60, "h": 3_600, "d": 86_400}
_LEAST_S, _MOST_S = 600, 90 * 86_400
_MAX_URL_CHARACTERS = 2_000
_PRINTABLE = re.compile(r"[!-~]+", re.ASCII)


def parse_refresh_s(text: str) -> int:
    """Return how often to look for a newer list, in seconds."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise Refused("it is a number with its unit", "write 30m, 12h or 7d")
    seconds = int(match[1]) * _UNIT_S[match[2]]
    if not _LEAST_S <= seconds <= _MOST_S:
        raise Refused("it must be from 10m to 90d", "write 1d")
    return seconds


def parse_file(text: str) -> str:
    """Return the absolute path of a list."""
    if not text.startswith("/") or text.endswith("/"):
        raise Refused("it is the whole path of a file", "write it as in /etc/nfsnitch/ads.txt")
    return text


def parse_url(text: str) -> str:
    """Return the URL of a list."""
    if len(text) > _MAX_URL_CHARACTERS or _PRINTABLE.fullmatch(text) is None:
        why = f"a URL has up to {_MAX_URL_CHARACTERS} printable ASCII characters"
        raise Refused(why, "write other characters in their %xx form")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise Refused("this is no URL", "write it as in https://lists.example/ads.txt") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise Refused("it is a URL of http or https", "write file: and a path for a local list")
    if parts.username is not None or parts.password is not None:
        raise Refused("a name or password would end up in logs", "write the URL without them")
    return text


def parse_format(text: str) -> ListFormat:
    """Return how the lines of a list are to be read."""
    for each in ListFormat:
        if each == text:
            return each
    known = [each.value for each in ListFormat]
    instead = closest(text, known, f"write {listed(known)}")
    raise Refused(f"it is one of {', '.join(known)}", instead)


KEYS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "file": ("where", parse_file),
    "url": ("where", parse_url),
    "format": ("format", parse_format),
    "refresh": ("refresh_s", parse_refresh_s),
    "sha256": ("sha256", parse_sha256_text),
}
"""Key of a list → the attribute of `ListDefinition`, and how its text is read."""


class Lists:
    """Collects the lists of all files."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._declared: dict[str, Position] = {}
        self.lists: dict[str, NamedList] = {}
        """By name, in the order of the files."""

    def read(self, node: Node) -> None:
        """Take the mapping ``lists`` of one file, and note what is wrong with it."""
        if not isinstance(node, MappingNode):
            why = f"it takes a mapping, not {kind(node)}"
            instead = f"write a name for each list, as in {_EXAMPLE}"
            self._problems.add(node.position, "lists", why, instead)
            return
        for key, value in node.pairs:
            self._declare(key, value)

    def _declare(self, key: Scalar, node: Node) -> None:
        what = f"list {quoted(key.text)}"
        if not is_group_name(key.text):
            why = "a list's name is a letter, then letters, digits, _ or -, 64 at most"
            self._problems.add(key.position, what, why, "write a name as in ads")
            return
        earlier = self._declared.setdefault(key.text, key.position)
        if earlier is not key.position:
            why = f"{earlier} defines it already"
            self._problems.add(key.position, what, why, "give one of the two another name")
            return
        if len(self._declared) > MOST_LISTS:
            why = f"there may be {MOST_LISTS} lists"
            self._problems.add(key.position, what, why, "put some of them into one file")
            return
        if not isinstance(node, MappingNode):
            why = f"it takes a mapping, not {kind(node)}"
            self._problems.add(node.position, what, why, f"write {_EXAMPLE}")
            return
        self._define(key, what, node)

    def _define(self, key: Scalar, what: str, node: MappingNode) -> None:
        values = self._values(what, node)
        there = [each.text for each, _ in node.pairs if each.text in {"file", "url"}]
        if not there and any(each.text not in KEYS for each, _ in node.pairs):
            return  # one of these may be what is meant
        if len(there) != 1:
            why = "it is in one place" if there else "it does not say where it is"
            self._problems.add(node.position, what, why, "write file: and a path, or url:")
        elif "where" in values:
            origin = f"{key.position.file}:{key.position.line}"
            self.lists[key.text] = NamedList(ListDefinition(name=key.text, origin=origin, **values))

    def _values(self, what: str, node: MappingNode) -> Mapping[str, Any]:
        values: dict[str, Any] = {}
        for key, value in node.pairs:
            if key.text not in KEYS:
                why = f"a list has {', '.join(KEYS)}"
                instead = closest(key.text, KEYS, "remove it")
                self._problems.add(key.position, f"{quoted(key.text)} in {what}", why, instead)
                continue
            if not isinstance(value, Scalar):
                why = f"it takes a single value, not {kind(value)}"
                self._problems.add(value.position, f"{key.text} of {what}", why, "write one value")
                continue
            attribute, parse = KEYS[key.text]
            try:
                values[attribute] = parse(value.text)
            except Refused as refused:
                self._problems.refuse(
                    value.position, f"{key.text} {quoted(value.text)} of {what}", refused
                )
        return values
