"""Parsers of values that say which binary a program is.

For what they have in common see `nfsnitch.adapters.rulefile.values`.
"""

from __future__ import annotations

import re

from nfsnitch.adapters.rulefile.problems import Refused, closest, quoted
from nfsnitch.adapters.rulefile.values import Known, check_pattern
from nfsnitch.core.pattern import paths

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_HEXADECIMAL = re.compile(r"[0-9a-fA-F]+")
_YES_OR_NO = {"true": True, "false": False}
_PACKAGE = re.compile(r"[A-Za-z0-9*?\[\]!_][A-Za-z0-9+._*?\[\]!-]*", re.ASCII)
"""Of Debian's names (deb-control(5)) and rpm's, with the wildcards of globs."""


def parse_sha256(text: str, known: Known) -> tuple[str]:
    """Return a SHA-256 in small hexadecimal digits."""
    del known
    return (parse_sha256_text(text),)


def parse_sha256_text(text: str) -> str:
    """Return a SHA-256 in small hexadecimal digits."""
    if _SHA256.fullmatch(text) is None:
        what = f"it has {len(text)}" if _HEXADECIMAL.fullmatch(text) else "this is none"
        why = f"a SHA-256 has 64 hexadecimal digits, and {what}"
        raise Refused(why, "write what sha256sum prints of the file")
    return text.lower()


def parse_changed(text: str, known: Known) -> tuple[bool]:
    """Return whether the program is to have changed."""
    del known
    if text not in _YES_OR_NO:
        instead = closest(text, _YES_OR_NO, "write true for programs that have changed")
        raise Refused("it is one of true, false", instead)
    return (_YES_OR_NO[text],)


def parse_package(text: str, known: Known) -> tuple[str]:
    """Return the name of a package, or a glob."""
    del known
    name, colon, _ = text.partition(":")
    if colon:
        raise Refused("packages are named without their architecture", f"write {quoted(name)}")
    if _PACKAGE.fullmatch(text) is None:
        raise Refused("packages have no such names", "write one as dpkg -S or rpm -qf prints it")
    check_pattern(paths, text)
    return (text,)
