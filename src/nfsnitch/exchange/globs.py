"""Globs of our rules, made of the alternatives of regular expressions."""

from __future__ import annotations

import re
from collections.abc import Iterator

from nfsnitch.exchange.expressions import Alternative, NotPlainError, Token, Wild

_WILD = re.compile(r"([*?\[\\])")
_MOST_GLOBS = 64
_PARTS: dict[Wild, tuple[str, ...]] = {
    Wild.ANY: ("?", "/"),
    Wild.MANY: ("**",),
    Wild.SEGMENT: ("*",),
    Wild.IN_SEGMENT: ("?",),
}


def escaped(text: str) -> str:
    """Return the glob that matches *text* alone."""
    return _WILD.sub(r"\\\1", text)


def globs_of(alternative: Alternative) -> tuple[str, ...]:
    """Return globs that together match the absolute paths that *alternative* is found in.

    No glob at all: it is found in every path.

    Raises:
        NotPlainError: globs cannot say that.

    """
    if not alternative.tokens and not (alternative.at_start and alternative.at_end):
        return ()
    bodies = list(_bodies(alternative.tokens))
    if not alternative.at_end:
        bodies = [f"{body}**" for body in bodies]
    return tuple(dict.fromkeys(glob for body in bodies for glob in _begun(alternative, body)))


def _begun(alternative: Alternative, body: str) -> Iterator[str]:
    """Yield the globs of whole paths that begin or go on with *body*."""
    if body.startswith("/") or alternative.at_start:
        yield body
    if not alternative.at_start:
        yield f"/**{body}"


def _bodies(tokens: tuple[Token, ...]) -> Iterator[str]:
    """Yield the globs whose union *tokens* are: a ``.`` is the slash or any other character."""
    bodies = [""]
    for token in tokens:
        bodies = [body + part for body in bodies for part in _parts(token)]
        if len(bodies) > _MOST_GLOBS:
            raise NotPlainError("too many . in it stand for any character (write \\. for a dot)")
    yield from bodies


def _parts(token: Token) -> tuple[str, ...]:
    if isinstance(token, str):
        return (escaped(token),)
    return _PARTS[token]
