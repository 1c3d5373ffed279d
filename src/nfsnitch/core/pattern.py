r"""Patterns of a rule: globs over paths, regular expressions over any text.

Both are matched by RE2, whose time grows linearly with the text: what a process calls itself must
not be able to hang the daemon. RE2 reads UTF-8, and an undecodable byte would match nothing at all,
not even ``.``: a process could slip through a rule by one stray byte among its arguments. So each
such byte is matched as one U+FFFD, the replacement character. Exact paths are compared as they are.

Globs (there is no standard that has them all, so this is the definition):

- ``*`` any characters but ``/``; ``?`` one character but ``/``; ``**`` any characters
- ``[abc]``, ``[a-z]`` one of these; ``[!abc]`` one character that is none of these, nor ``/``;
  a ``]`` that comes first is an ordinary character
- ``\`` takes the special meaning from the character after it
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import re2

from nfsnitch.core.text import shown

MAX_REGEX_BYTES = 1 << 20
"""Memory one compiled expression may take; RE2 refuses what needs more."""

_MAX_SHOWN_CHARACTERS = 80
_ORDINARY = re.compile(r"[^*?\[\\]+")
_UNDECODABLE = re.compile("[\ud800-\udfff]")
_NO_CAPTURES = re2.Options()
_NO_CAPTURES.max_mem = MAX_REGEX_BYTES
_NO_CAPTURES.log_errors = False
_NO_CAPTURES.dot_nl = True  # else a line feed in an argument would end what ".*" reaches
_NO_CAPTURES.never_capture = True

_NO_BACKREFERENCE = (
    "re2 has no backreferences",
    r"write what is meant out, as in (a a|b b), or \\ for a backslash",
)
_NO_LOOKAROUND = (
    "re2 has no lookaround",
    "write a rule before this one for the exception, or use not: on a plain expression",
)
_EXPLANATIONS: tuple[tuple[str, tuple[str, str]], ...] = (
    *((rf"invalid escape sequence: \{digit}", _NO_BACKREFERENCE) for digit in range(1, 10)),
    ("invalid perl operator: (?P", _NO_BACKREFERENCE),
    *((f"invalid perl operator: {each}", _NO_LOOKAROUND) for each in ("(?=", "(?!", "(?<")),
    (
        "invalid perl operator: (?>",
        ("re2 has no atomic groups, it never backtracks", "write (?:...)"),
    ),
    (
        r"invalid escape sequence: \Z",
        (r"re2 has no \Z", r"write $ or \z for the end of the text"),
    ),
    (
        r"invalid escape sequence: \u",
        (r"re2 has no \u", r"write the character itself or \x{20ac}"),
    ),
    (
        "bad repetition operator",
        ("re2 has no possessive or doubled repetition", "write one of * + ? {n,m}"),
    ),
    (
        "pattern too large",
        (f"it would need more than {MAX_REGEX_BYTES >> 10} KiB compiled", "write a shorter one"),
    ),
    ("invalid repetition size", ("re2 repeats at most 1000 times in all", "write * or +")),
)


class PatternError(ValueError):
    """A glob or a regular expression that cannot be compiled."""

    def __init__(self, why: str, instead: str) -> None:
        """Say *why* it cannot be, and what to write *instead*."""
        super().__init__(f"{why}; {instead}")
        self.why = why
        self.instead = instead


@dataclass(frozen=True, slots=True)
class Regexes:
    """Regular expressions in RE2's syntax; a text is *in* them that has any of them in itself."""

    sources: tuple[str, ...]
    _compiled: tuple[re2._Regexp, ...]

    def __reduce__(self) -> tuple[Callable[[Iterable[str]], Regexes], tuple[tuple[str, ...]]]:
        """Be handed to another process as what it was made of (pickle)."""
        return regexes, (self.sources,)

    def __contains__(self, text: object) -> bool:
        """Whether one of the expressions is found anywhere in *text*."""
        if not isinstance(text, str):
            return False
        subject = _subject(text)
        return any(each.search(subject) is not None for each in self._compiled)


def regexes(sources: Iterable[str]) -> Regexes:
    """Return the compiled expressions.

    Raises:
        PatternError: RE2 cannot compile one of them.

    """
    kept = tuple(dict.fromkeys(sources))
    return Regexes(kept, _united(kept))


@dataclass(frozen=True, slots=True)
class Paths:
    """A set of paths, given as exact paths and globs."""

    exact: frozenset[str]
    globs: tuple[str, ...]
    _compiled: tuple[re2._Regexp, ...]

    def __reduce__(self) -> tuple[Callable[..., Paths], tuple[frozenset[str], tuple[str, ...]]]:
        """Be handed to another process as what it was made of (pickle)."""
        return _paths_of, (self.exact, self.globs)

    def __contains__(self, path: object) -> bool:
        """Whether *path* is one of the exact paths or matches a glob wholly."""
        if not isinstance(path, str):
            return False
        if path in self.exact:
            return True
        if not self._compiled:
            return False
        subject = _subject(path)
        return any(each.fullmatch(subject) is not None for each in self._compiled)


def paths(globs: Iterable[str]) -> Paths:
    """Return the set of all that is matched by any of *globs*.

    Raises:
        PatternError: one of them is malformed.

    """
    exact: set[str] = set()
    wild: dict[str, str] = {}
    for glob in globs:
        tokens = list(_tokens(glob))
        if all(isinstance(token, _Literal) for token in tokens):
            exact.add("".join(token.text for token in tokens))
        else:
            wild[glob] = "".join(token.regex for token in tokens)
    return Paths(frozenset(exact), tuple(wild), _united(tuple(wild.values())))


def _paths_of(exact: frozenset[str], globs: tuple[str, ...]) -> Paths:
    return Paths(exact, globs, _united(tuple(map(glob_regex, globs))))


def glob_regex(glob: str) -> str:
    """Return the regular expression that matches wholly what *glob* does; ``.`` is any character.

    Raises:
        PatternError: it is malformed.

    """
    return "".join(token.regex for token in _tokens(glob))


@dataclass(frozen=True, slots=True)
class _Literal:
    """A stretch of characters that stand for themselves."""

    text: str

    @property
    def regex(self) -> str:
        return re2.escape(self.text)


@dataclass(frozen=True, slots=True)
class _Wild:
    """A wildcard, with its translation."""

    text: str
    regex: str


def _tokens(glob: str) -> Iterator[_Literal | _Wild]:
    at = 0
    while at < len(glob):
        token, at = _token(glob, at)
        yield token


def _token(glob: str, at: int) -> tuple[_Literal | _Wild, int]:
    """Return the token that begins at *at*, and where the next one begins."""
    if (ordinary := _ORDINARY.match(glob, at)) is not None:
        return _Literal(ordinary[0]), ordinary.end()
    character = glob[at]
    if character == "*":
        end = at + 1
        while glob[end : end + 1] == "*":
            end += 1
        return _Wild(glob[at:end], "[^/]*" if end == at + 1 else ".*"), end
    if character == "?":
        return _Wild("?", "[^/]"), at + 1
    if character == "[":
        return _bracket(glob, at)
    if at + 1 == len(glob):
        raise PatternError(r"its last \ escapes nothing", r"write \\ for a backslash")
    return _Literal(glob[at + 1]), at + 2


def _bracket(glob: str, at: int) -> tuple[_Wild, int]:
    negated = glob[at + 1 : at + 2] == "!"
    start = at + 1 + negated
    if glob[start : start + 1] == "^":
        raise PatternError("[^ means one thing here and another there", "write [! or [\\^")
    members, end = _members(glob, start)
    sign = "^/" if negated else ""
    return _Wild(glob[at:end], f"[{sign}{members}]"), end


def _members(glob: str, start: int) -> tuple[str, int]:
    """Return the translation of a bracket's members, and where the text after it begins."""
    members: list[str] = []
    at = start
    while glob[at : at + 1] != "]" or at == start:
        first, at = _member(glob, at)
        last = first
        if glob[at : at + 1] == "-" and glob[at + 1 : at + 2] not in {"]", ""}:
            last, at = _member(glob, at + 1)
        if first <= "/" <= last:
            raise PatternError("[ ] never matches /", "write the / outside the brackets")
        if last < first:
            why = f"the range {shown(first)}-{shown(last)} is reversed"
            raise PatternError(why, "write its lower end first")
        members.append(f"{_code(first)}-{_code(last)}")
    return "".join(members), at + 1


def _member(glob: str, at: int) -> tuple[str, int]:
    if glob[at : at + 1] == "\\":
        at += 1
    elif glob[at : at + 2] in {"[:", "[.", "[="}:
        raise PatternError("character classes have no names here", "write a range, as in [a-z]")
    if at >= len(glob):
        raise PatternError("its [ is never closed", r"write ] after it, or \[ for a bracket")
    return glob[at], at + 1


def _code(character: str) -> str:
    return f"\\x{{{ord(character):x}}}"


def _united(sources: Sequence[str]) -> tuple[re2._Regexp, ...]:
    """Compile *sources* into one expression, or each into its own where one would be too large."""
    singles = tuple(_compiled(source) for source in sources)
    if len(singles) < 2:  # noqa: PLR2004
        return singles
    try:
        return (_compiled("|".join(f"(?:{source})" for source in sources)),)
    except PatternError:
        return singles


def _compiled(source: str) -> re2._Regexp:
    try:
        return re2.compile(source, _NO_CAPTURES)
    except UnicodeEncodeError:
        raise PatternError("it has a half of a surrogate pair", "write the character") from None
    except re2.error as error:
        raise _explained(error) from None


def _explained(error: re2.error) -> PatternError:
    raw = error.args[0]
    message = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)
    message = shown(message[:_MAX_SHOWN_CHARACTERS])
    for beginning, (why, instead) in _EXPLANATIONS:
        if message.startswith(shown(beginning)):
            return PatternError(f"{why} ({message})", instead)
    return PatternError(message, "write an expression in the syntax of RE2")


def _subject(text: str) -> bytes:
    if text.isascii():
        return text.encode("ascii")
    return _UNDECODABLE.sub("\ufffd", text).encode("utf-8")
