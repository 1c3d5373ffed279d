"""For whom, and for where, an answer can be: what a rule would say of it.

What a person is offered must be what a rule can say. A path with a line end in it, or one that
nobody knows, makes no rule, and so is not offered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_network
from typing import NamedTuple, TypeGuard

from nfsnitch.core.cgroup_path import place
from nfsnitch.core.flow import Flow, Protocol, address_text
from nfsnitch.core.owner import Forwarded, Kernel, Owner, Process
from nfsnitch.core.question import Question
from nfsnitch.core.script import interpreter_of, script_of
from nfsnitch.core.text import shown
from nfsnitch.core.unknown import Unknown
from nfsnitch.protocol.words import Where, Who

Value = str | int | tuple[str, ...]
Fields = dict[str, Value]
"""Fields of a rule, by name, in the order in which a person would write them."""

_MOST_CHARACTERS = 2_000
_NAME_CHARACTERS = 60
_WILD = re.compile(r"([*?\[\\])")
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_REGEX_SPECIAL = re.compile(r"([\\.+*?()|\[\]{}^$])")
_NO_PROGRAM = re.compile(r"[^/]|.*(?:/\.{0,2}(?:/|$))", re.DOTALL)
"""Begins what is no path of a program, as the kernel writes them and rules take them."""
_WITH_PORTS = frozenset({Protocol.TCP, Protocol.UDP, Protocol.SCTP, Protocol.UDPLITE})
_MAPPED = bytes(10) + b"\xff\xff"
"""Begins IPv6 addresses that stand for others of IPv4: a rule does not take them."""
_HOST = re.compile(
    r"(?=.{1,253}\Z)(?!.*\.[0-9]+\Z)(?![0-9]+\Z)"
    r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
"""Names as hosts have them, and no address."""
_NETWORK_BITS = {4: 24, 16: 64}
"""Bytes of an address → bits of the network around it that an answer can be for."""


class Choice(NamedTuple):
    """One thing that an answer can be for."""

    text: str
    """What it stands for, for people; as hostile as what it comes from."""
    name: str
    """The same in short, for the names of rules; fit to be shown."""
    fields: Fields


def whos(question: Question) -> dict[Who, Choice]:
    """Return for whom the question can be answered, the narrowest first."""
    owners = (question.found.owner, *question.found.rivals)
    return dict(_of_several(owners) if len(owners) > 1 else _of_one(owners[0]))


def wheres(question: Question) -> dict[Where, Choice]:
    """Return for where the question can be answered, the narrowest first."""
    flow = question.flow
    address, network = address_text(flow.daddr), _network(flow.daddr)
    what, port = _what(flow), _port_text(flow)
    at_address: Fields = {"daddr": address, **what}
    at_network: Fields = {"daddr": network, **what}
    choices = _hosts(question) | {
        Where.ADDRESS_PORT: Choice(f"{address}, {port}", f"{address} {port}", at_address),
        Where.ADDRESS: Choice(address, address, {"daddr": address}),
        Where.NETWORK_PORT: Choice(f"{network}, {port}", f"{network} {port}", at_network),
        Where.NETWORK: Choice(network, network, {"daddr": network}),
        Where.PORT: Choice(port, f"{port} anywhere", what),
        Where.ANYWHERE: Choice("", "anywhere", {}),
    }
    if flow.daddr.startswith(_MAPPED):
        del choices[Where.ADDRESS_PORT], choices[Where.ADDRESS]
    return choices


def _hosts(question: Question) -> dict[Where, Choice]:
    """Return what can be said of the name, where a single one is known to all who may have sent."""
    found = question.found
    texts = {name.text for names in (found.names, *found.names_of_rivals) for name in names.names}
    all_named = all(names.names for names in (found.names, *found.names_of_rivals))
    if len(texts) != 1 or not all_named or len(found.names_of_rivals) != len(found.rivals):
        return {}
    (host,) = texts
    if _HOST.fullmatch(host) is None:
        return {}  # a rule cannot name it, or would take it for a pattern
    what, port, short = _what(question.flow), _port_text(question.flow), _short(host)
    choices = {
        Where.HOST_PORT: Choice(f"{host}, {port}", f"{short} {port}", {"host": host, **what}),
        Where.HOST: Choice(host, short, {"host": host}),
    }
    domain = host.partition(".")[2]
    if "." in domain:
        # Where a domain begins that somebody can register, its name does not say.
        below: Fields = {"host": (domain, f"*.{domain}")}
        text, short = f"*.{domain}", _short(f"*.{domain}")
        choices[Where.DOMAIN_PORT] = Choice(f"{text}, {port}", f"{short} {port}", below | what)
        choices[Where.DOMAIN] = Choice(text, short, below)
    return choices


def _of_several(owners: tuple[Owner, ...]) -> Iterator[tuple[Who, Choice]]:
    """Yield what can be said of all who may have sent it: a rule must match each of them."""
    programs = [_program(owner) if isinstance(owner, Process) else None for owner in owners]
    by_name = {}
    for program in programs:
        # Of an interpreter, one rule cannot say: this script, or else that other program.
        if program is None or (program != programs[0] and set(program.fields) != {"exe"}):
            return
        by_name[program.text] = program
    first, *others = by_name.values()
    if not others:
        yield Who.PROGRAM, first
    elif set(first.fields) == {"exe"}:
        name = _short(" or ".join(each.name for each in by_name.values()))
        globs = tuple(str(each.fields["exe"]) for each in by_name.values())
        yield Who.PROGRAM, Choice(", ".join(by_name), name, {"exe": globs})


def _of_one(owner: Owner) -> Iterator[tuple[Who, Choice]]:
    if not isinstance(owner, Process):
        yield Who.OWNER, _kind_of_owner(owner)
        return
    program = _program(owner)
    if program is not None:
        yield Who.PROGRAM, program
    yield from _surroundings(owner)
    user = owner.identity.user
    if _is_sayable(user) and not user.isdecimal():
        yield Who.USER, Choice(user, _short(f"user {user}"), {"user": user})
    else:
        yield Who.USER, Choice(str(owner.uid), f"user {owner.uid}", {"uid": owner.uid})


def _surroundings(owner: Process) -> Iterator[tuple[Who, Choice]]:
    if not isinstance(owner.cgroup, Unknown):
        there = place(owner.cgroup)
        unit = there.unit if isinstance(there.user_unit, Unknown) else there.user_unit
        if _is_sayable(unit):
            yield Who.UNIT, Choice(unit, _short(unit.rpartition("/")[2]), {"unit": _literal(unit)})
        if _is_sayable(there.app):
            yield Who.APP, Choice(there.app, _short(there.app), {"app": _literal(there.app)})
    if owner.parents and _is_path(parent := owner.parents[0].exe.path):
        name = _short(f"what {_file_name(parent)} starts")
        yield Who.PARENT, Choice(parent, name, {"parent": _literal(parent)})


def _kind_of_owner(owner: Owner) -> Choice:
    if isinstance(owner, Kernel):
        return Choice("the kernel itself", "the kernel", {"owner": "kernel"})
    if isinstance(owner, Forwarded):
        return Choice("what is forwarded", "forwarded", {"owner": "forwarded"})
    return Choice("all whose owner is not known", "owner unknown", {"owner": "unknown"})


def _program(owner: Process) -> Choice | None:
    path = owner.exe.path
    if not _is_path(path):
        return _program_inside(owner)
    name = _short(_file_name(path))
    if interpreter_of(path) is None:
        return Choice(path, name, {"exe": _literal(path)})
    script = script_of(owner)
    if _is_path(script):
        fields: Fields = {"exe": _literal(path), "script": _literal(script)}
        return Choice(f"{path} {script}", _short(f"{name} {_file_name(script)}"), fields)
    joined = owner.args if isinstance(owner.args, Unknown) else " ".join(owner.args)
    if not isinstance(script, Unknown) or not _is_sayable(joined):
        return None  # whatever the interpreter may run would be too much
    pattern = _REGEX_SPECIAL.sub(r"\\\1", joined)
    return Choice(f"{path} ({joined})", name, {"exe": _literal(path), "args": f"^{pattern}$"})


def _program_inside(owner: Process) -> Choice | None:
    """Return a program that only its own mount namespace has a name for, in its container."""
    inside = owner.exe.inside
    if isinstance(owner.cgroup, Unknown) or not _is_path(inside):
        return None
    app = place(owner.cgroup).app
    if not _is_sayable(app):
        return None
    name = _short(f"{_file_name(inside)} in {app}")
    fields: Fields = {"exe_inside": _literal(inside), "app": _literal(app)}
    return Choice(f"{inside} in {app}", name, fields)


def _what(flow: Flow) -> Fields:
    fields: Fields = {"proto": flow.proto_name}
    if not isinstance(flow.dport, Unknown) and flow.proto in _WITH_PORTS:
        fields["dport"] = flow.dport
    return fields


def _port_text(flow: Flow) -> str:
    dport = flow.dport
    return flow.proto_name if isinstance(dport, Unknown) else f"{dport}/{flow.proto_name}"


def _network(daddr: bytes) -> str:
    bits = _NETWORK_BITS[len(daddr)]
    return str(ip_network(f"{address_text(daddr)}/{bits}", strict=False))


def _literal(text: str) -> str:
    """Return the glob that matches *text* and nothing else."""
    return _WILD.sub(r"\\\1", text)


def _file_name(path: str) -> str:
    return path.rpartition("/")[2] or path


def _short(text: str) -> str:
    text = shown(text)
    return text if len(text) <= _NAME_CHARACTERS else f"{text[: _NAME_CHARACTERS - 1]}…"


def _is_path(text: str | Unknown) -> TypeGuard[str]:
    """Whether a rule can name a program by *text*."""
    return _is_sayable(text) and _NO_PROGRAM.match(text) is None


def _is_sayable(text: str | Unknown) -> TypeGuard[str]:
    """Whether a rule file can have *text* in it, and a person would see what it says."""
    if isinstance(text, Unknown) or not text or len(text) > _MOST_CHARACTERS:
        return False
    return _HIDDEN.search(text) is None
