"""What this machine's file system says of the paths in rules, and of the rule files themselves."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from nfsnitch.adapters.rulefile.document import Scalar
from nfsnitch.adapters.rulefile.fields import RULE_FIELDS
from nfsnitch.adapters.rulefile.files import ignored_files
from nfsnitch.adapters.rulefile.globbing import first_match
from nfsnitch.adapters.rulefile.outline import PlacedRule
from nfsnitch.adapters.rulefile.problems import Position, RuleWarning, WarningCode, quoted
from nfsnitch.adapters.rulefile.values import parse_path
from nfsnitch.core.decision import Action
from nfsnitch.core.pattern import paths as path_set
from nfsnitch.core.text import shown

_EXECUTED = ("exe", "parent")
_IF_ELSEWHERE = "check it, or leave it for the machines that have it"


def path_warnings(rules: Sequence[PlacedRule]) -> Iterator[RuleWarning]:
    """Yield warnings of paths that name no program here, or one that others can change."""
    for placed in rules:
        for name, field in placed.written.fields.items():
            if name in RULE_FIELDS and RULE_FIELDS[name].parse is parse_path:
                allows = placed.rule.action is Action.ALLOW and not field.negated
                for value in field.values:
                    yield from _of_value(name, value, allows=allows)


def rule_file_warnings(paths: Sequence[Path]) -> Iterator[RuleWarning]:
    """Yield a warning of each rule file that somebody else than root can change or replace."""
    for order, path in enumerate(_files(paths)):
        position = Position(order, shown(os.fspath(path)), 1, 1)
        for place in _file_and_directories(path):
            why = _writer(place)
            if why is not None:
                what = f"rule file in {_whole(str(place))}" if place != path else "rule file"
                instead = "let root alone own it and write to it (chown, chmod go-w)"
                yield RuleWarning(position, "writable-rules", what, why, instead)
                break


def not_read_warnings(paths: Sequence[Path]) -> Iterator[RuleWarning]:
    """Yield a warning of each file in a directory of rules that is passed over."""
    for path in ignored_files(paths):
        position = Position(-1, shown(os.fspath(path)), 1, 1)  # before the files that are read
        why = "of a directory only the files *.yaml are read, without those that begin with a dot"
        instead = "name it on the command line or rename it if it was meant"
        yield RuleWarning(position, "not-read", "rule file", why, instead)


def _of_value(field: str, value: Scalar, *, allows: bool) -> Iterator[RuleWarning]:
    if not value.text.startswith("/"):
        return  # the name of a group
    found = path_set([value.text])
    if found.globs:
        reason = _reason_against_glob(value.text)
    else:
        (path,) = found.exact
        reason = _reason_against_path(field, path)
    what = f"{field} {quoted(value.text)}"
    if reason is not None:
        yield RuleWarning(value.position, reason[0], what, reason[1], reason[2])
    if allows:
        for code, why in _changed_by_others(value.text, is_glob=bool(found.globs)):
            instead = "move the program to where root alone can write"
            yield RuleWarning(value.position, code, what, why, instead)


def _reason_against_path(field: str, path: str) -> tuple[WarningCode, str, str] | None:
    """Return code, why and what to do; None where all is well, or cannot be seen."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116  a Path would lose what is odd in the text
    except (FileNotFoundError, NotADirectoryError):
        return "no-such-file", "this machine has no such file", _IF_ELSEWHERE
    except (OSError, ValueError):
        return None
    real = os.path.realpath(path)
    if real != path:
        why = f"it leads over a symlink to {_whole(real)}, which is the path that the kernel tells"
        return "symlink", why, f"write {_whole(real)}"
    if not stat.S_ISREG(mode):
        return "no-program", "it is no file that can be run", _IF_ELSEWHERE
    if field in _EXECUTED and not mode & 0o111:
        return "no-program", "nobody may execute it", _IF_ELSEWHERE
    return None


def _reason_against_glob(glob: str) -> tuple[WarningCode, str, str] | None:
    match = first_match(glob)
    if match.path is not None or not match.is_sure:
        return None
    if match.behind_symlink is not None:
        link, real = match.behind_symlink
        why = f"only symlinks match it, as {_whole(link)}; the kernel tells {_whole(real)}"
        return "symlink", why, "write where they lead to"
    return "no-such-file", "no file of this machine matches it", _IF_ELSEWHERE


def _changed_by_others(text: str, *, is_glob: bool) -> Iterator[tuple[WarningCode, str]]:
    """Yield code and why for each thing that anybody may change about what *text* names."""
    literal = text[: min((text.find(each) for each in "*?[" if each in text), default=len(text))]
    if not is_glob and (mode := _mode(literal)) is not None and mode & stat.S_IWOTH:
        yield "writable-program", "anybody may write to it"
    directory = literal.rpartition("/")[0] or "/"
    while (mode := _mode(directory)) is None and directory != "/":
        directory = directory.rpartition("/")[0] or "/"
    if mode is not None and mode & stat.S_IWOTH:
        yield "writable-program", f"anybody may put a program into {_whole(directory)}"


def _whole(path: str) -> str:
    """Return *path* between quotes, fit to be shown, and not cut: it may have to be copied."""
    return f"'{shown(path)}'"


def _mode(path: str) -> int | None:
    try:
        return os.stat(path).st_mode  # noqa: PTH116
    except (OSError, ValueError):
        return None


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(each for each in path.glob("*.yaml") if each.name[0] != ".")
        else:
            yield path


def _file_and_directories(path: Path) -> Iterator[Path]:
    yield path
    try:
        yield from path.resolve().parents
    except OSError:
        return


def _writer(path: Path) -> str | None:
    """Return who else than root can change *path*; None if nobody, or if that cannot be seen."""
    try:
        status = path.stat()
    except OSError:
        return None
    if status.st_uid != 0:
        return f"it belongs to user {status.st_uid}"
    if stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX:
        return None  # what is root's in it can be replaced by nobody else
    if status.st_mode & stat.S_IWOTH:
        return "anybody may write to it"
    if status.st_mode & stat.S_IWGRP and status.st_gid != 0:
        return f"group {status.st_gid} may write to it"
    return None
