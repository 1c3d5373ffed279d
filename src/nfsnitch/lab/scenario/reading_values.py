"""Values in scenario files: text in, what it stands for out, or `Refused`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any, Final

from nfsnitch.adapters.rulefile.problems import Refused, closest, listed, quoted
from nfsnitch.lab.scenario.model import Range

Parser = Callable[[str], str]

ANY_NUMBER: Final = Range(1, math.inf, ">= 1")
NONE: Final = Range(0, 0, "0")
MOST_NS: Final = 86_400 * 10**9
"""A day: a longer time in a scenario is a mistake."""

_NUMBER = r"-?[0-9]{1,18}(?:\.[0-9]{1,9})?"
_RANGE = re.compile(
    rf"(?:(?P<sign>>=|<=)\s*(?P<bound>{_NUMBER}))|(?:(?P<least>{_NUMBER})\.\.(?P<most>{_NUMBER}))",
    re.ASCII,
)
_EXACT = re.compile(_NUMBER, re.ASCII)
_BEYOND = re.compile(rf"[<>]\s*{_NUMBER}", re.ASCII)
"""Likely meant as a range; as a text no value of a record is like it."""
_WHOLE = re.compile(r"0[xX][0-9a-fA-F]{1,32}|[0-9]{1,39}", re.ASCII)
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h)", re.ASCII)
_UNITS_NS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}", re.ASCII)
_REFERENCE = re.compile(
    r"\$(?:\$|\{(?P<braced>[^{}$\s]*)\}|(?P<bare>[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?))"
)
_A_RANGE = "write a number, '>= 3', '<= 3' or '3..5'"


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return the parser of whole numbers, decimal or hexadecimal, from *least* to *most*."""

    def parse(text: str) -> int:
        if (
            _WHOLE.fullmatch(text) is None
            or not least <= (number := int(text, _base(text))) <= most
        ):
            raise Refused(
                f"it is a whole number from {least} to {most}", "write one, decimal or as 0x1f"
            )
        return number

    return parse


def per_cent(text: str) -> float:
    """Return a number from 0 to 100."""
    if _EXACT.fullmatch(text) is None or not 0 <= (number := float(text)) <= 100:  # noqa: PLR2004
        raise Refused("it is per cent, from 0 to 100", "write as much as 1 or 0.5")
    return number


def duration_ns(text: str) -> int:
    """Return a time in nanoseconds: a number with ``ms``, ``s``, ``m`` or ``h`` behind it."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise Refused("a time is a number with ms, s, m or h behind it", "write as in 20ms or 5s")
    time_ns = round(float(match[1]) * _UNITS_NS[match[2]])
    if time_ns > MOST_NS:
        raise Refused("it is longer than a day", "write a shorter time")
    return time_ns


def jump_ns(text: str) -> int:
    """Return by how many nanoseconds a clock is set: a time after ``+`` or ``-``."""
    if text[:1] not in {"+", "-"}:
        raise Refused("a clock is set forward or back", "write as in +1h or -90s")
    time_ns = duration_ns(text[1:])
    return -time_ns if text[0] == "-" else time_ns


def range_of(text: str) -> Range:
    """Return the range that *text* is: ``3``, ``>= 3``, ``<= 3`` or ``3..5``."""
    found = _range(text)
    if found is None and _EXACT.fullmatch(text) is not None:
        found = Range(float(text), float(text), text)
    if found is None:
        raise Refused("it is a number or a range of numbers", _A_RANGE)
    if found.least > found.most:
        raise Refused("nothing lies in it", "write the lesser number first")
    return found


def value(text: str) -> str | Range:
    """Return what a record's value is compared with: a range where *text* is plainly one.

    Raises:
        Refused: it says greater or less, which no range does.

    """
    if _BEYOND.fullmatch(text) is not None:
        raise Refused("a range has its ends in it", _A_RANGE)
    return text if _range(text) is None else range_of(text)


def switch(text: str) -> bool:
    """Return whether something is so."""
    return one_of(("true", "false"))(text) == "true"


def one_of(words: Collection[str]) -> Callable[[str], str]:
    """Return the parser of one of *words*."""

    def parse(text: str) -> str:
        if text not in words:
            hint = closest(text, words, f"write {listed(words)}")
            raise Refused(f"it is {listed(words)}", hint)
        return text

    return parse


def known(what: str, words: Collection[str]) -> Callable[[str], str]:
    """Return the parser of the name of *what*, which is one of *words*."""

    def parse(text: str) -> str:
        if text not in words:
            otherwise = f"write {listed(sorted(words))}" if words else f"there is no {what} yet"
            raise Refused(f"there is no such {what}", closest(text, words, otherwise))
        return text

    return parse


def name(text: str) -> str:
    """Return a name that the scenario gives to something."""
    if _NAME.fullmatch(text) is None:
        why = "a name has up to 31 small letters, digits, - and _, and begins with a letter"
        raise Refused(why, "write as in first-one")
    return text


def not_empty(text: str) -> str:
    """Return *text*, which says something."""
    if not text.strip():
        raise Refused("it is empty", "write something")
    return text


def interface_address(text: str) -> str:
    """Return an address and the length of its network's prefix."""
    try:
        found = ip_interface(text)
    except ValueError:
        found = None
    if found is None or "/" not in text or "%" in text:
        raise Refused("it is an address with its network's length", "write as in 192.0.2.9/24")
    return found.with_prefixlen


def address(text: str) -> str:
    """Return an IPv4 or IPv6 address."""
    try:
        found = ip_address(text)
    except ValueError:
        found = None
    if found is None or "%" in text:
        raise Refused("it is an IPv4 or IPv6 address", "write as in 192.0.2.1 or 2001:db8::1")
    return str(found)


def destination(text: str) -> str:
    """Return where a route leads: a network, or ``default``."""
    if text == "default":
        return text
    try:
        return str(ip_network(text))
    except ValueError:
        raise Refused("it is no network", "write as in 10.0.0.0/8, or default") from None


def references(text: str) -> Iterator[str]:
    """Yield the names that *text* refers to, as ``$NAME`` or ``${NAME}``; ``$$`` is a dollar."""
    for match in _REFERENCE.finditer(text):
        if match[0] != "$$":
            yield _referred(match)


def substituted(text: str, places: Mapping[str, str]) -> str:
    """Return *text* with what *places* has in the place of each ``$NAME`` and ``${NAME}``.

    ``$$`` becomes ``$``; a dollar with neither a letter nor ``{`` behind it stays.

    Raises:
        Refused: there is no such name.

    """

    def place(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else places[known_place(_referred(match), places)]

    return _REFERENCE.sub(place, text)


def known_place(called: str, places: Collection[str]) -> str:
    """Return *called*, which is one of *places*.

    Raises:
        Refused: it is none; the reason names it.

    """
    if called not in places:
        otherwise = f"write {listed(f'${each}' for each in sorted(places))}, or $$ for a dollar"
        why = f"there is no program and no file {quoted(called)}"
        raise Refused(why, closest(called, places, otherwise))
    return called


def record_values(wanted: Any) -> Any:  # noqa: ANN401  it is a value of YAML
    """Return *wanted*, texts, lists and mappings, with ranges in the place of their texts."""
    if isinstance(wanted, str):
        return value(wanted)
    if isinstance(wanted, dict):
        return {key: record_values(each) for key, each in wanted.items()}
    return [record_values(each) for each in wanted]


def _range(text: str) -> Range | None:
    match = _RANGE.fullmatch(text)
    if match is None:
        return None
    if match["sign"] is None:
        return Range(float(match["least"]), float(match["most"]), text)
    bound = float(match["bound"])
    least, most = (bound, math.inf) if match["sign"] == ">=" else (-math.inf, bound)
    return Range(least, most, text)


def _referred(match: re.Match[str]) -> str:
    return str(match["bare"] if match["braced"] is None else match["braced"])


def _base(text: str) -> int:
    return 16 if text[:2].lower() == "0x" else 10
