r"""Names in DNS messages (RFC 1035, 4.1.4): read with bounds, and written so that none is another.

A label may have any byte in it, a dot as well. Whatever is not a plain character of a host's name
is written ``\DDD`` with its decimal number (RFC 4343, 2.1): ``a.b`` as one label is ``a\046b``, and
no rule takes it for what is below ``b``.
"""

from __future__ import annotations

import re

MAX_NAME_BYTES = 255
"""On the wire, with the lengths of its labels (RFC 1035, 2.3.4)."""
MAX_STEPS = 2_048
"""Labels, pointers and parameters that are read in one message; real ones have some dozens."""

_POINTER = 0xC0
_PLAIN = re.compile(rb"[0-9a-z_-]*")
_KEPT = frozenset(range(0x21, 0x7F)) - {ord("."), ord("\\")}
_ESCAPES = {each: f"\\{each:03d}" for each in range(256) if each not in _KEPT}


class UnreadableError(Exception):
    """A message breaks the rules; the text says which."""


class NameReader:
    """Reads the names of one message, whose costs all together are bounded."""

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._steps = MAX_STEPS
        self._at_pointers: dict[int, bytes] = {}

    def step(self) -> None:
        """Count one more label, pointer or the like.

        Raises:
            UnreadableError: that is more than a message may take.

        """
        self._steps -= 1
        if self._steps < 0:
            raise UnreadableError(f"it takes more than {MAX_STEPS} steps to read")

    def read(self, at: int) -> tuple[bytes, int]:
        """Return the name that begins at *at*, and its end.

        It has no pointers any more, only labels in lower case with their lengths: only names that
        are the same are the same bytes. `name_text` is what to call it.

        Raises:
            UnreadableError: it is too long, leads in circles or forward, or is cut off.

        """
        message = self._message
        try:
            first = message[at]
            if first < _POINTER:
                return self._read(at)
            target = (first & 0x3F) << 8 | message[at + 1]
            known = self._at_pointers.get(target)
            if known is None:
                known, _ = self._read(at)
                self._at_pointers[target] = known
        except IndexError:
            raise UnreadableError("a name is cut off") from None
        return known, at + 2

    def _read(self, at: int) -> tuple[bytes, int]:
        message = self._message
        labels: list[bytes] = []
        lowest, end, length = at, -1, 1
        while (count := message[at]) != 0:
            self.step()
            if count >= _POINTER:
                target = (count & 0x3F) << 8 | message[at + 1]
                if target >= lowest:  # pointers lead to what came before: none leads in a circle
                    raise UnreadableError("a pointer in a name does not lead back")
                end = at + 2 if end < 0 else end
                lowest = at = target
                continue
            if count >= 0x40:  # noqa: PLR2004  labels have up to 63 bytes
                raise UnreadableError("a name has a label of no known kind")
            length += count + 1
            if length > MAX_NAME_BYTES:
                raise UnreadableError(f"a name has more than {MAX_NAME_BYTES} bytes")
            labels.append(message[at : at + 1 + count])
            at += count + 1
        # A length is less than any letter, and so no letter in another case.
        return b"".join(labels).lower(), at + 1 if end < 0 else end


def name_text(name: bytes) -> str:
    """Return a name as text, without the final dot."""
    labels, at = list[bytes](), 0
    while at < len(name):
        end = at + 1 + name[at]
        labels.append(name[at + 1 : end])
        at = end
    if _PLAIN.fullmatch(b"".join(labels)):
        return b".".join(labels).decode("ascii")
    return ".".join(label.decode("latin-1").translate(_ESCAPES) for label in labels)
