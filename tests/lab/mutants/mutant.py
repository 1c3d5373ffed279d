"""What a mutant is: the daemon with one fault put in, and who is likely to find it out.

The fault is put in by name, from outside, in the process that is to be the daemon: the program
itself has no place for it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfsnitch.adapters import nft

CORPUS = Path(__file__).parents[1]
Function = Callable[..., Any]
Fault = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Mutant:
    """The daemon with one fault."""

    name: str
    fault: str
    """What is wrong with it, in a few words."""
    scenarios: tuple[str, ...]
    """Below `CORPUS`, without the ending: those that should find it out, the likeliest first."""
    put_in: Fault
    """Has the fault in this process, from the next daemon on."""


MUTANTS: dict[str, Mutant] = {}
"""All of them, by name, once `lab.mutants.catalogue` has been imported."""


def mutant(name: str, fault: str, *scenarios: str) -> Callable[[Fault], Fault]:
    """Put a function that puts in a fault into the table."""

    def noted(put_in: Fault) -> Fault:
        if name in MUTANTS:
            raise ValueError(f"there are two mutants {name}")
        MUTANTS[name] = Mutant(name, fault, scenarios, put_in)
        return put_in

    return noted


def around(owner: object, name: str, instead: Function) -> None:
    """Have *instead* called in the place of a function, which it gets as its first argument.

    Raises:
        AttributeError: *owner*, a class or a module, has no such function (any more).

    """
    real: Function = getattr(owner, name)

    @functools.wraps(real)
    def called(*args: object, **kwargs: object) -> object:
        return instead(real, *args, **kwargs)

    setattr(owner, name, called)


def nft_text(before: str, after: str) -> None:
    """Have the text *after* in the place of *before* in the nft rules that are put in force.

    Raises:
        ValueError: the rules have no such text (any more).

    """
    files = sorted((Path(nft.__file__).parents[3] / "nft").glob("*.nft"))
    if not any(before in each.read_text("utf-8") for each in files):
        raise ValueError(f"no file of nft rules has {before!r}")

    def chains(real: Function, *args: object) -> str:
        return str(real(*args)).replace(before, after)

    around(nft, "_chains", chains)


JUDGE_THE_REST = "jump cached"
"""From here on what is left is judged: by what the kernel can answer itself, then by the daemon."""
_JUDGE_ICMP = "goto judge\n\t}"
"""The same of ICMP, at the end of a chain of its own."""


def passes(match: str) -> None:
    """Have packets pass unjudged that nft finds to be like *match*, where others are judged."""
    for judging in (JUDGE_THE_REST, _JUDGE_ICMP):
        nft_text(judging, f"{match} accept\n\t\t{judging}")
