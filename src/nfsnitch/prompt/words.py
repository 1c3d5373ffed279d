"""A question in words. Whatever comes from programs is made harmless and kept short here."""

from __future__ import annotations

import pwd
import socket
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from nfsnitch.core.text import counted, shown
from nfsnitch.prompt.columns import without_middle
from nfsnitch.prompt.host_words import host_name, host_names, name_lines, why_none
from nfsnitch.protocol import Asked, Mode, Outcome, Say, Where, Who

MOST_CHARACTERS = 8_000
"""Of one value, however long it is."""
_PATH_CHARACTERS = 512
_NAME_CHARACTERS = 60
_LABEL_CHARACTERS = 300
_ICMP = ("icmp", "icmpv6")

WHO = {
    Who.PROGRAM: "this program",
    Who.UNIT: "any program of this unit",
    Who.APP: "any program of this app",
    Who.PARENT: "any program started by this one",
    Who.USER: "any program of this user",
    Who.OWNER: "whatever is of this kind",
}
WHERE = {
    Where.ANYWHERE: "anywhere",
    Where.PORT: "this port of any address",
    Where.ADDRESS: "this address, any port",
    Where.ADDRESS_PORT: "this address and port",
    Where.NETWORK: "the network around it, any port",
    Where.NETWORK_PORT: "the network around it, this port",
    Where.HOST: "this host, any port",
    Where.HOST_PORT: "this host and port",
    Where.DOMAIN: "this domain, any port",
    Where.DOMAIN_PORT: "this domain, this port",
}
MODES = {
    Mode.ASK: "held, and somebody is asked",
    Mode.ALLOW_SILENTLY: "let out, and listed (nfsnitch rules silenced)",
    Mode.DENY_SILENTLY: "dropped, and listed (nfsnitch rules silenced)",
}
"""What becomes of connections that have to be asked about."""
DONE = {
    Say.ALLOW: "allowed",
    Say.DENY: "denied",
    Say.REJECT: "rejected",
    Say.DISMISS: "dismissed",
}
"""What has been answered."""
ENDED = {
    Outcome.ANSWERED: "answered",
    Outcome.DISMISSED: "dismissed",
    Outcome.UNANSWERED: "nobody answered in time",
    Outcome.RULES: "the rules, or the mode, decide it now",
    Outcome.GONE: "the program has given up",
    Outcome.STOPPING: "the daemon stops",
}
"""How a question ended."""


class Fact(NamedTuple):
    """One thing that is known of a question."""

    name: str
    text: str
    is_loud: bool = False
    """Nobody may overlook it."""


def headline(asked: Asked) -> str:
    """Return who wants what, as a sentence."""
    proto, verb = asked.flow.get("proto"), "connect to"
    if proto in _ICMP:
        verb = f"send {_text(proto)} (type {_text(asked.flow.get('icmp_type'))}) to"
    elif proto != "tcp":
        verb = f"send {_text(proto)} to"
    return f"{who_in_short(asked.owner)} wants to {verb} {_place(asked.flow)}"


def in_short(asked: Asked) -> str:
    """Return who wants what in a few words."""
    proto = _text(asked.flow.get("proto"))
    return f"{who_in_short(asked.owner)} → {destination(asked.flow)} {proto}"


def who_in_short(owner: Mapping[str, Any]) -> str:
    """Return whose it is: a program by its file's name, or by that which the desktop shows."""
    kind = owner.get("owner")
    if kind == "kernel":
        return "the kernel itself"
    if kind == "forwarded":
        return "another machine, through this one,"
    if kind != "process":
        return "an unknown program"
    name = _program_name(owner)
    script = owner.get("script")
    if isinstance(script, str):
        return f"{_short(script.rpartition('/')[2])} (by {name})"
    desktop = owner.get("desktop")
    title = desktop.get("name") if isinstance(desktop, dict) else None
    if isinstance(title, str) and title.casefold() != name.casefold():
        return f"{_short(title)} ({name})"
    return name


def destination(flow: Mapping[str, Any]) -> str:
    """Return host (or address) and port, as they are usually written together."""
    address, port = flow.get("daddr"), flow.get("dport")
    if not isinstance(address, str):
        return "an unknown place"
    place = host_name(flow) or _text(address)
    if isinstance(port, int):
        place = f"[{place}]:{port}" if ":" in place else f"{place}:{port}"
    several = host_names(flow)
    return f"{place} ({several})" if several else place


def facts(asked: Asked) -> list[Fact]:
    """Return what is known, what matters most first."""
    return [*_warnings(asked), *_of_owner(asked.owner), *_of_flow(asked)]


def who_words(asked: Asked, key: str) -> str:
    """Return for whom an answer of this scope is."""
    return _scope(WHO, asked.who, key)


def where_words(asked: Asked, key: str) -> str:
    """Return for where an answer of this scope is."""
    return _scope(WHERE, asked.where, key)


def user_name(uid: int | None) -> str:
    """Return a user's name, or number."""
    if uid is None:
        return "nobody"
    try:
        return shown(pwd.getpwuid(uid).pw_name)
    except (KeyError, OverflowError):
        return f"uid {uid}"


def _scope(words: Mapping[Any, str], offered: Mapping[str, str], key: str) -> str:
    stands_for = _short(offered.get(key, ""), _LABEL_CHARACTERS)
    meaning = words.get(key, shown(key))
    return f"{meaning}: {stands_for}" if stands_for and stands_for != meaning else meaning


def _warnings(asked: Asked) -> Iterator[Fact]:
    owner = asked.owner
    if owner.get("changed") is True:
        why = ", after its package was updated" if owner.get("package_updated") is True else ""
        yield Fact("CHANGED", f"another file than the one let out last{why}", is_loud=True)
    if owner.get("exe_deleted") is True:
        yield Fact("DELETED", "the program's file is gone from its place", is_loud=True)
    if asked.rivals:
        names = ", ".join(who_in_short(each) for each in asked.rivals[:3])
        others = counted(len(asked.rivals), "other")
        yield Fact("NOT SURE", f"it may be of {others} instead: {names}", is_loud=True)


def _of_owner(owner: Mapping[str, Any]) -> Iterator[Fact]:
    if owner.get("owner") != "process":
        yield Fact("program", _text(owner.get("exe")))
        return
    yield Fact("program", f"{_path(owner.get('exe'))}, process {_text(owner.get('pid'))}")
    yield from _known("inside", owner.get("exe_inside"))
    yield from _known("script", owner.get("script"))
    yield Fact("arguments", _arguments(owner.get("args")))
    parents = owner.get("parents")
    if isinstance(parents, list) and parents:
        yield Fact("started by", " ← ".join(_ancestor(each) for each in parents[:12]))
    opener = owner.get("opener")
    if isinstance(opener, dict) and "pid" in opener:
        yield Fact("socket of", f"{_ancestor(opener)}, process {_text(opener.get('pid'))}")
    yield Fact("user", _user(owner))
    for name in ("app", "pod", "unit", "appimage"):
        yield from _known(name, owner.get(name))
    if "package" in owner:
        package = owner["package"]
        yield Fact(
            "package", "none: no package has this file" if package == "none" else _text(package)
        )
    yield from _binary(owner)


def _binary(owner: Mapping[str, Any]) -> Iterator[Fact]:
    if "sha256" not in owner:
        return
    yield Fact(
        "sha256", _text(owner["sha256"]) + (", unchanged" if owner.get("changed") is False else "")
    )
    yield from _known("before", owner.get("previous_sha256"))


def _of_flow(asked: Asked) -> Iterator[Fact]:
    flow = asked.flow
    by = f", by {_text(asked.iface)}" if asked.iface is not None else ""
    yield Fact("to", f"{_place(flow, by_name=False)}, {_text(flow.get('proto'))}{by}")
    yield from _names(flow)
    why = {
        "rule": f"rule '{_short(asked.rule or '?', _LABEL_CHARACTERS)}' wants it asked",
        "default": "no rule matches",
        "unattributed": "nobody can say whose it is",
    }.get(asked.reason, shown(asked.reason[:_NAME_CHARACTERS]))
    yield Fact("asked since", f"{clock_time(asked.since)}: {why}")
    yield Fact(
        "waiting",
        f"{counted(asked.flows, 'connection')} (owner found by {_text(asked.attribution)})",
    )


def clock_time(text: object) -> str:
    """Return the local time of day of a record's time."""
    try:
        return f"{datetime.fromisoformat(str(text)).astimezone():%H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return "?"


def _known(name: str, value: object) -> Iterator[Fact]:
    if isinstance(value, str):
        yield Fact(name, _path(value))


def _names(flow: Mapping[str, Any]) -> Iterator[Fact]:
    several = host_names(flow)
    if several:
        yield Fact("host", f"ambiguous: {several}", is_loud=True)
    for name, origin in name_lines(flow):
        yield Fact("name", f"{name}: {origin}")
    why = why_none(flow)
    if why:
        yield Fact("host", f"not known: {why}")


def _place(flow: Mapping[str, Any], *, by_name: bool = True) -> str:
    address, port = flow.get("daddr"), flow.get("dport")
    if not isinstance(address, str):
        return f"an unknown place ({_text(address)})"
    place = (by_name and host_name(flow)) or _text(address)
    if isinstance(port, int):
        service = _service(port, str(flow.get("proto")))
        place += f" port {port}" + (f" ({service})" if service else "")
    several = host_names(flow) if by_name else None
    return f"{place}, which is {several}" if several else place


@lru_cache(maxsize=256)
def _service(port: int, proto: str) -> str:
    try:
        return shown(socket.getservbyport(port, proto))
    except (OSError, OverflowError, ValueError):
        return ""


def _user(owner: Mapping[str, Any]) -> str:
    uid, name = owner.get("uid"), owner.get("user")
    number = uid if isinstance(uid, int) else None
    if isinstance(name, str):
        return f"{_short(name)} (uid {_text(uid)})"
    return user_name(number) if number is not None else _text(uid)


def _program_name(owner: Mapping[str, Any]) -> str:
    exe = owner.get("exe")
    return (
        _short(exe.rpartition("/")[2] or exe) if isinstance(exe, str) else _text(owner.get("comm"))
    )


def _ancestor(ancestor: object) -> str:
    if not isinstance(ancestor, dict):
        return "?"
    exe = ancestor.get("exe")
    return _short(exe.rpartition("/")[2] or exe) if isinstance(exe, str) else "?"


def _arguments(args: object) -> str:
    if not isinstance(args, list):
        return _text(args)
    words: list[str] = []
    length = 0
    for each in args:
        words.append(_argument(each))
        length += len(words[-1]) + 1
        if length > MOST_CHARACTERS:
            break
    more = len(args) - len(words)
    return " ".join(words) + (f" … and {more} more" if more else "")


def _argument(argument: object) -> str:
    """Return an argument; in quotes, if it would look like several or like none."""
    text = str(argument)
    is_plain = text and not any(character in text for character in " '\"")
    cut = shown(text[:MOST_CHARACTERS])
    more = len(text) - MOST_CHARACTERS
    tail = f" … and {counted(more, 'more character')}" if more > 0 else ""
    return (cut if is_plain else f"'{cut}'") + tail


def _path(value: object) -> str:
    return _short(value, _PATH_CHARACTERS) if isinstance(value, str) else _text(value)


def _short(text: str, characters: int = _NAME_CHARACTERS) -> str:
    """Return a text whose beginning and end matter."""
    return shown(without_middle(text, characters))


def _text(value: object) -> str:
    if isinstance(value, dict):
        return f"not known: {_text(str(value.get('unknown', '?')))}"
    if isinstance(value, str | int):
        return shown(str(value)[:_LABEL_CHARACTERS])
    return "?"
