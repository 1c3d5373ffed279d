"""What a condition of an OpenSnitch rule is in ours, and how its texts are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import re2

from nfsnitch.adapters.rulefile.problems import quoted
from nfsnitch.exchange import expressions
from nfsnitch.exchange.expressions import Alternative
from nfsnitch.exchange.opensnitch_rules import Operator

Fields = Mapping[str, tuple[str, ...]]

_MAX_REGEX_BYTES = 1 << 20


class UnsayableError(ValueError):
    """A condition that our rules have no words for; the message says why."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a condition is in our rules."""

    any_of: tuple[Fields, ...] = ({},)
    """Any of these, each of which is fields that must all match; one without fields: always."""
    in_part: tuple[str, ...] = ()
    """Why it matches less than the original."""
    folds_case: bool = False
    """The original takes capitals for small letters, and this does not."""
    list_folder: str | None = None
    """The folder of the lists of which the destination has to be on one; OpenSnitch's word for
    what they hold is `list_operand`."""
    list_operand: str = ""


@dataclass(frozen=True, slots=True)
class Aliases:
    """Names of networks, from OpenSnitch's network_aliases.json."""

    networks: Mapping[str, Sequence[str]] = field(default_factory=dict)


def alternatives_of(operator: Operator) -> tuple[Alternative, ...]:
    """Return the alternatives that a regular expression is.

    Raises:
        NotPlainError: it is more than that.

    """
    require(operator, "regexp")
    return expressions.alternatives(operator.data)


def source_of(operator: Operator) -> str:
    """Return the expression as OpenSnitch compiles it."""
    return operator.data if operator.sensitive else operator.data.lower()


def compiled(source: str) -> re2._Regexp:
    """Return a compiled expression.

    Raises:
        UnsayableError: it is none.

    """
    options = re2.Options()
    options.max_mem = _MAX_REGEX_BYTES
    options.log_errors = False
    try:
        return re2.compile(source, options)
    except (re2.error, UnicodeEncodeError):
        raise UnsayableError(f"{quoted(source)} is no regular expression") from None


def require(operator: Operator, kind: str) -> None:
    """Refuse an operator of another kind than *kind*.

    Raises:
        UnsayableError: it is of another one.

    """
    if operator.type != kind:
        raise UnsayableError(f"{operator.operand} is not compared by {quoted(operator.type)}")


def each_once(texts: Iterable[str]) -> tuple[str, ...]:
    """Return *texts* in their order, without repetitions."""
    return tuple(dict.fromkeys(texts))
