"""A book of answers with its file, for tests: what it does is looked at in the rules it gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from builders import WALL_NS, case, instant
from nfsnitch.adapters.answers_file import AnswersFile
from nfsnitch.adapters.rulefile.names import Names
from nfsnitch.asking.book import AnswerBook
from nfsnitch.asking.duration import parse_duration
from nfsnitch.core.decision import Action
from nfsnitch.core.instant import Instant
from nfsnitch.core.owner import Process
from nfsnitch.core.ruleset import Ruleset

NAMES = Names(lambda _user: None, lambda _service: frozenset())
BY_HAND = "# Mine.\nrules:\n# Why not.\n- name: by hand\n  action: allow\n  dport: 80\n"
BROKEN = "rules:\n- name: by hand\n  action: alow\n"


def opened(path: Path, is_alive: Callable[[Process], bool] = lambda _process: True) -> AnswerBook:
    """Return the book of a daemon that has just started."""
    book = AnswerBook(AnswersFile(path), NAMES, is_alive)
    book.refresh()
    return book


def written_by_hand(path: Path, text: str) -> None:
    """Have a person save the file."""
    path.parent.mkdir(exist_ok=True)
    new = path.with_name("edited")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def add(
    book: AnswerBook,
    name: str,
    duration: str = "forever",
    *,
    more: str = "",
    of_process: Process | None = None,
) -> None:
    """Add a rule that allows everything, when the test begins."""
    block = book.block(f"name: {name}\naction: allow\n{more}")
    book.add(block, parse_duration(duration, WALL_NS), instant(), of_process)


def save(book: AnswerBook) -> str | None:
    """Write the book; return what went wrong."""
    problem = book.begin_to_save()()
    book.saved(problem)
    return problem


def allows(
    book: AnswerBook, *, after_s: float = 0, clock_set_ns: int = 0, owner: Process | None = None
) -> bool:
    """Whether the rules allow a flow so much later, the wall clock having been set meanwhile."""
    later = instant(after_s)
    now = Instant(later.monotonic_ns, later.wall_ns + clock_set_ns)
    ruling = Ruleset(answers=book.rules()).rule_on(case(owner=owner)._replace(now=now))
    return ruling.action is Action.ALLOW


def lasting(book: AnswerBook) -> list[str]:
    """Return the names of the rules that are kept."""
    return [rule.name for rule in book.lasting.rules]
