"""Words that the commands about lists share."""

from __future__ import annotations

from nfsnitch.core import text


def counted(number: int, noun: str) -> str:
    """Return both together, with thousands set apart."""
    return text.counted(number, noun).replace(str(number), f"{number:,}", 1)
