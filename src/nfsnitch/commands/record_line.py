"""A record as one line for people."""

from __future__ import annotations

import pwd
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from nfsnitch.core.flow import BYPASS_NAMES
from nfsnitch.core.text import shown
from nfsnitch.prompt.host_words import host_name, host_names

_COLOURS = {"accept": "32", "drop": "31", "reject": "33"}
"""Verdict → SGR number (ECMA-48): green, red, yellow."""
_BYPASSES = frozenset(BYPASS_NAMES.values())
_RESET = "\x1b[0m"
_WORTH_TELLING_MS = 1_000


def record_line(record: Mapping[str, Any], *, colour: bool) -> str:
    """Return when, verdict, program, user, destination and reason; hostile text is made harmless.

    Whatever is missing or of another kind, as in the record of a later daemon, is a question mark.
    """
    verdict = f"{_text(record.get('verdict')):<6}"
    if colour:
        verdict = _coloured(verdict)
    words = (_time(record), verdict, _who(record), _where(record), _why(record))
    return "  ".join(words)


def _coloured(verdict: str) -> str:
    number = _COLOURS.get(verdict.strip())
    return f"\x1b[{number}m{verdict}{_RESET}" if number else verdict


def _time(record: Mapping[str, Any]) -> str:
    try:
        moment = datetime.fromisoformat(record["time"]).astimezone()
    except (KeyError, TypeError, ValueError, OverflowError):
        return "?"
    return f"{moment:%H:%M:%S}.{moment.microsecond // 1_000:03d}"


def _who(record: Mapping[str, Any]) -> str:
    exe = record.get("exe")
    if record.get("owner") == "kernel":
        who = _reason(exe)
    elif record.get("owner") == "process":
        who = program_and_user(record)
    else:
        who = f"unknown program ({_reason(exe)})"
    opener = record.get("opener")
    if isinstance(opener, dict) and "pid" in opener:
        who += f" (socket of {_program(opener.get('exe'))} [{_text(opener.get('pid'))}])"
    rivals = record.get("rivals")
    if isinstance(rivals, list) and rivals:
        who += f" (or {len(rivals)} other{'s' * (len(rivals) > 1)})"
    return who


def _program(exe: object) -> str:
    return "a program" if isinstance(exe, dict) else _text(exe)


def program_and_user(record: Mapping[str, Any]) -> str:
    """Return program, pid and user of a process; hostile text is made harmless."""
    exe = record.get("exe")
    deleted = " (deleted)" if record.get("exe_deleted") is True else ""
    program = _text(record.get("comm")) if isinstance(exe, dict) else _text(exe)
    return f"{program}{deleted} [{_text(record.get('pid'))}] {_user(record.get('uid'))}"


def _where(record: Mapping[str, Any]) -> str:
    proto = record.get("proto")
    if isinstance(proto, str) and proto in _BYPASSES:
        return f"opens an AF_{proto.upper()} socket"
    daddr, dport = record.get("daddr"), record.get("dport")
    if isinstance(daddr, dict):
        return f"→ unknown ({_reason(daddr)})"
    name = host_name(record)
    place = name or _text(daddr)
    if isinstance(dport, int):
        place = f"[{place}]:{dport}" if ":" in place else f"{place}:{dport}"
    also = _text(daddr) if name else host_names(record)
    return f"{_text(record.get('proto'))} → {place}" + (f" ({also})" if also else "")


def _why(record: Mapping[str, Any]) -> str:
    reason, rule = _text(record.get("reason")), record.get("rule")
    words = [reason] if rule is None or reason != "rule" else []
    if rule is not None:
        words.insert(0, f"rule '{_text(rule)}'")
    entry = record.get("list")
    if isinstance(entry, dict):
        line = f"{_text(entry.get('name'))}:{_text(entry.get('line'))}"
        words.append(f"list {line} {_text(entry.get('entry'))}")
    packets, held_ms = record.get("packets"), record.get("held_ms")
    if isinstance(held_ms, int | float) and held_ms >= _WORTH_TELLING_MS:
        words.append(f"held {held_ms / 1_000:.1f} s")
    if isinstance(packets, int) and packets > 1:
        words.append(f"{packets} packets")
    return ", ".join(words)


def _user(uid: object) -> str:
    if not isinstance(uid, int):
        return _text(uid)
    try:
        return shown(pwd.getpwuid(uid).pw_name)
    except (KeyError, OverflowError):
        return f"uid {uid}"


def _reason(value: object) -> str:
    return _text(value.get("unknown")) if isinstance(value, dict) else "?"


def _text(value: object) -> str:
    return shown(str(value)) if isinstance(value, str | int) else "?"
