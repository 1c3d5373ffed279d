"""Parsers for the settings: the text of one value → what it means, or `Refused`."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

from nfsnitch.adapters.rulefile.problems import Refused, closest, listed
from nfsnitch.adapters.rulefile.values import parse_duration_ns
from nfsnitch.core.settings import MAX_MARK, FailMode, Loopback

E = TypeVar("E", bound=StrEnum)

MIN_HANG_TIMEOUT_NS = 3_000_000_000
"""The loop shows once a second that it comes round."""

_NUMBER = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)
_MARK = re.compile(r"0x[0-9a-fA-F]{1,8}|0|[1-9][0-9]{0,9}", re.ASCII)


def parse_fail_mode(text: str) -> FailMode:
    """Return what becomes of packets that nobody evaluates."""
    return _word(text, FailMode)


def parse_loopback(text: str) -> Loopback:
    """Return what becomes of traffic that stays on this machine."""
    return _word(text, Loopback)


def parse_hang_timeout_ns(text: str) -> int:
    """Return after how many nanoseconds a daemon counts as hanging."""
    duration_ns = parse_duration_ns(text)
    if duration_ns < MIN_HANG_TIMEOUT_NS:
        raise Refused("a busy machine alone takes that long", "write 3s or more")
    return duration_ns


def parse_mark(text: str) -> int:
    """Return a packet mark: 32 bits, not all of them 0."""
    if _MARK.fullmatch(text) is None or int(text, 0) > MAX_MARK:
        raise Refused("a mark is a number of 32 bits", "write it as in 0x6e667372")
    if not int(text, 0):
        raise Refused("0 is no mark: every packet has it", "write it as in 0x6e667372")
    return int(text, 0)


def parse_bit(text: str) -> int:
    """Return a packet mark of one bit."""
    mark = parse_mark(text)
    if mark.bit_count() != 1:
        raise Refused("it is one bit of the packet mark", f"write {1 << mark.bit_length() - 1:#x}")
    return mark


def number_between(least: int, most: int) -> Callable[[str], int]:
    """Return a parser of whole numbers from *least* to *most*."""

    def parse(text: str) -> int:
        if _NUMBER.fullmatch(text) is None:
            raise Refused("it is a number in decimal digits", f"write a number up to {most}")
        if not least <= int(text) <= most:
            raise Refused(f"it goes from {least} to {most}", f"write {least} to {most}")
        return int(text)

    return parse


def _word(text: str, words: type[E]) -> E:
    for word in words:
        if word == text:
            return word
    known = [word.value for word in words]
    raise Refused(
        f"it is one of {', '.join(known)}", closest(text, known, f"write {listed(known)}")
    )
