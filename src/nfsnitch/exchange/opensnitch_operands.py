"""One condition of an OpenSnitch rule as fields of ours, with exactly its meaning or not at all."""

from __future__ import annotations

import re
from collections.abc import Callable

from nfsnitch.adapters.rulefile.problems import quoted
from nfsnitch.exchange import opensnitch_places as places
from nfsnitch.exchange.expressions import NotPlainError
from nfsnitch.exchange.globs import escaped, globs_of
from nfsnitch.exchange.opensnitch_condition import (
    Aliases,
    Said,
    UnsayableError,
    alternatives_of,
    each_once,
    require,
    source_of,
)
from nfsnitch.exchange.opensnitch_rules import Operator

_NUMBER = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)
_SHA256_DIGITS = 64
_LOWERED_CLASS = re.compile(r"\\[A-Z]|\(\?P?<?[A-Z]")
_DOT = re.compile(r"\\.|\.", re.DOTALL)
_META = re.compile(r"([\\.+*?()|\[\]{}^$])")


def said(operator: Operator, aliases: Aliases) -> Said:
    """Return what *operator* says, in our words.

    Raises:
        UnsayableError: there are none for it.

    """
    if operator.operand == "true":
        return Said()
    if operator.operand.startswith("lists."):
        return _said_of_lists(operator)
    translate = _OPERANDS.get(operator.operand)
    if translate is None:
        raise UnsayableError(_why_not(operator.operand))
    if operator.type == "network" and translate is not places.network:
        raise UnsayableError(f"{operator.operand} is compared with a network")
    try:
        return translate(operator, aliases)
    except NotPlainError as error:
        what = f"{operator.operand} {quoted(operator.data)}"
        raise UnsayableError(
            f"{what} cannot be said without regular expressions: {error}"
        ) from None


def _why_not(operand: str) -> str:
    if operand.startswith("process.env."):
        return f"{quoted(operand)}: rules know nothing of a program's environment"
    if operand.startswith("process.hash."):
        return f"{quoted(operand)}: programs are known by their SHA-256 alone (sha256:)"
    if operand == "iface.in":
        return "iface.in matches no packet that this machine sends itself"
    return f"nothing here corresponds to the operand {quoted(operand)}"


def _said_of_lists(operator: Operator) -> Said:
    if operator.operand not in {"lists.domains", "lists.ips", "lists.nets"}:
        raise UnsayableError(f"{quoted(operator.operand)}: there are no such lists here")
    if operator.type != "lists" or not operator.data:
        raise UnsayableError(f"{operator.operand} names no folder of lists")
    return Said(list_folder=operator.data, list_operand=operator.operand)


def _path(name: str) -> Callable[[Operator, Aliases], Said]:
    def translate(operator: Operator, aliases: Aliases) -> Said:
        del aliases
        folds = not operator.sensitive and operator.data.lower() != operator.data.upper()
        if operator.type == "simple":
            return Said(({name: (escaped(operator.data),)},), folds_case=folds)
        globs: list[str] = []
        for alternative in alternatives_of(operator):
            found = globs_of(alternative)
            if not found:
                return Said()
            globs += found
        return Said(({name: each_once(globs)},), folds_case=folds)

    return translate


def _command(operator: Operator, aliases: Aliases) -> Said:
    del aliases
    is_caseless = operator.data.lower() == operator.data.upper()
    flags = "" if operator.sensitive or is_caseless else "(?i)"
    if operator.type == "simple":
        text = _META.sub(r"\\\1", operator.data)
        return Said(({"args": (f"{flags}^{text}$",)},))
    require(operator, "regexp")
    source = source_of(operator)
    if not operator.sensitive and _LOWERED_CLASS.search(operator.data):
        why = "OpenSnitch puts the whole expression into small letters, which changes what it means"
        raise UnsayableError(f"process.command {quoted(operator.data)}: {why}")
    if not source:
        return Said()
    if any(match[0] == "." for match in _DOT.finditer(source)):
        flags = "(?i-s)" if flags else "(?-s)"  # there . is no line feed
    return Said(({"args": (f"{flags}{source}",)},))


def _uid(operator: Operator, aliases: Aliases) -> Said:
    del aliases
    return Said(({"uid": _numbers(operator)},))


def _pid(operator: Operator, aliases: Aliases) -> Said:
    del aliases
    return Said(({"pid": _numbers(operator)},))


def _user(operator: Operator, aliases: Aliases) -> Said:
    del aliases
    require(operator, "simple")
    return Said(({"user": (operator.data,)},))


def _sha256(operator: Operator, aliases: Aliases) -> Said:
    del aliases
    require(operator, "simple")
    if len(operator.data) != _SHA256_DIGITS:
        raise UnsayableError(f"{quoted(operator.data)} is no SHA-256")
    return Said(({"sha256": (operator.data.lower(),)},))


def _numbers(operator: Operator) -> tuple[str, ...]:
    if operator.type == "simple":
        texts = [operator.data]
    else:
        literals = [each.literal for each in alternatives_of(operator)]
        texts = [each for each in literals if each is not None]
        if len(texts) < len(literals):
            raise NotPlainError("it finds numbers by a part of their digits (write ^ and $)")
    for text in texts:
        if _NUMBER.fullmatch(text) is None:
            raise UnsayableError(f"{operator.operand} {quoted(text)} is no number")
    return each_once(texts)


_OPERANDS: dict[str, Callable[[Operator, Aliases], Said]] = {
    "process.path": _path("exe"),
    "process.parent.path": _path("parent"),
    "process.command": _command,
    "process.id": _pid,
    "process.hash.sha256": _sha256,
    "user.id": _uid,
    "user.name": _user,
    "dest.ip": places.address("daddr"),
    "dest.network": places.network,
    "dest.host": places.host,
    "dest.port": places.port("dport"),
    "source.ip": places.address("saddr"),
    "source.network": places.network,
    "source.port": places.port("sport"),
    "protocol": places.protocol,
    "iface.out": places.iface,
}
