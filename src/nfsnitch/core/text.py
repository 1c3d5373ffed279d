"""Text from outside (paths, arguments, process names) made fit to keep, match and show.

The kernel hands out bytes. They are decoded with ``surrogateescape``, so that no byte is lost and
two different paths never become one text; `shown` is what may reach a terminal or a log line.
"""

from __future__ import annotations

import sys

_BACKSLASH = ord("\\")


def decoded(raw: bytes) -> str:
    """Return *raw* as text from which `encoded` gives the same bytes back.

    Thousands of processes have one path, one cgroup and one name: equal texts are kept once.
    """
    return sys.intern(raw.decode("utf-8", "surrogateescape"))


def encoded(text: str) -> bytes:
    """Return the bytes that `decoded` made *text* of."""
    return text.encode("utf-8", "surrogateescape")


def shown(text: str) -> str:
    r"""Return *text* with everything that is not plainly printable written as an escape.

    Control characters, terminal escapes, line and paragraph separators, bidirectional overrides
    and undecodable bytes become ``\x1b``, ``\u202e`` and so on; a backslash is doubled, so that an
    escape in the result always stands for one character of the source.
    """
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return "".join(map(_shown_character, text))


def counted(number: int, noun: str) -> str:
    """Return both together, the noun in the plural that ends with s unless there is one."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _shown_character(character: str) -> str:
    code = ord(character)
    if code == _BACKSLASH:
        return "\\\\"
    if character.isprintable():
        return character
    if 0xDC80 <= code <= 0xDCFF:  # noqa: PLR2004  what surrogateescape makes of the bytes 80-ff
        return f"\\x{code - 0xDC00:02x}"
    if code <= 0xFF:  # noqa: PLR2004
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004
