"""Filters of Adblock Plus and its kin: those that mean a whole domain, for all traffic.

A filter list speaks of requests that a browser makes: of paths, kinds of content, the page that
asks, what is hidden on it. A firewall sees none of that, so ``||domain^`` alone is taken, and the
rest is counted by its kind.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from nfsnitch.lists.items import (
    Domain,
    Item,
    Scope,
    Unsupported,
    domain_name,
    looks_like_address,
    networks_of,
)

_COSMETIC = re.compile(r"#[@?$%]{0,3}#|\$\$|\$@\$")
"""Between the domains and what is to be hidden or changed on their pages."""
_WHOLE = re.compile(r"(@@)?\|\|([^\s/$^|]+)\^\|?(?:\$(.+))?")
_PATH = re.compile(r"\|\|[^/$^]*[/^][^$]")
_ALL_TRAFFIC = frozenset({"important", "all"})
"""Options that leave a filter what it is: for every request to the domain."""

COSMETIC = "hides or changes parts of pages"
REGEX = "regular expression"
PATH = "part of a URL"
OPTIONS = "for some requests only"
WILD = "* within a domain"
EXCEPTION = "exception for less than a domain"


def read_filter(line: str) -> Sequence[Item] | None:
    """Return what a line says; None: it is a comment.

    Raises:
        BadLineError: it is for a whole domain, and that is none.

    """
    if line[0] in "![" or line == "#" or line.startswith("# "):
        return None
    found = _WHOLE.fullmatch(line)
    if found is None:
        return (Unsupported(_kind(line)),)
    exception, name, options = found.groups()
    chosen = set(options.split(",")) if options else set()
    if not chosen <= _ALL_TRAFFIC:
        return (Unsupported(EXCEPTION if exception else OPTIONS),)
    return _whole(name, bool(exception), "important" in chosen)


def _whole(name: str, is_exception: bool, is_important: bool) -> Sequence[Item]:  # noqa: FBT001
    if looks_like_address(name) or name[0] == "[":
        return (Unsupported(EXCEPTION),) if is_exception else networks_of(name)
    scope = Scope.BELOW if name.startswith("*.") else Scope.WHOLE
    name = name.removeprefix("*.")
    if "*" in name or (is_exception and scope is Scope.BELOW):
        return (Unsupported(WILD),)
    return (Domain(domain_name(name), scope, is_exception, is_important),)


def _kind(line: str) -> str:
    if line.startswith("@@"):
        return EXCEPTION
    if line.startswith("/") and line.rstrip("$").find("/", 1) > 0 and line.count("/") > 1:
        return REGEX if re.search(r"[\\^$()|?+\[\]{}]", line) else PATH
    if _COSMETIC.search(line):
        return COSMETIC
    return PATH
