"""What somebody chooses for an answer besides the action, remembered for the next question.

The first time: this program, this address and port, for 15 minutes. That is no more than the
question itself has named; it covers that a program tries again, so that nobody is asked the same
thing twice in a minute; and what was pressed in haste, mends itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from PyQt6.QtCore import QSettings

from nfsnitch.protocol import PROCESS, UNTIL, Where, Who

FIRST_DURATION = "15m"
_WHO_ORDER = (Who.PROGRAM, Who.APP, Who.UNIT, Who.OWNER, Who.USER, Who.PARENT)
_WHERE_ORDER = (
    *(Where.HOST_PORT, Where.ADDRESS_PORT, Where.ADDRESS, Where.PORT),
    *(Where.NETWORK_PORT, Where.ANYWHERE),
)
_TOO_WIDE = {Who.USER.value, Who.PARENT.value}
"""Not remembered: what was meant for one question never goes for all of a user by habit."""


@dataclass(frozen=True, slots=True)
class Choice:
    """For whom, for where, for how long."""

    who: str
    where: str
    duration: str


class Choices:
    """The last choice, kept in *settings*."""

    def __init__(self, settings: QSettings) -> None:
        self._settings = settings

    def last(self, who: Iterable[str], where: Iterable[str], *, has_process: bool) -> Choice:
        """Return what to offer first, where *who* and *where* are possible."""
        where = list(where)
        duration = self._word("duration") or FIRST_DURATION
        if duration == PROCESS and not has_process:
            duration = FIRST_DURATION
        return Choice(
            _first(self._word("who"), _WHO_ORDER, list(who)),
            _first(self._word(_where_key(where)), _WHERE_ORDER, where),
            duration,
        )

    def remember(self, choice: Choice, where: Iterable[str]) -> None:
        """Offer this the next time; it was chosen among *where*."""
        if choice.who and choice.who not in _TOO_WIDE:
            self._settings.setValue("answer/who", choice.who)
        if choice.where:
            self._settings.setValue(f"answer/{_where_key(where)}", choice.where)
        if not choice.duration.startswith(UNTIL):
            self._settings.setValue("answer/duration", choice.duration)

    def shows_rule(self) -> bool:
        """Whether the rule is shown with a question."""
        return self._word("show_rule") == "yes"

    def remember_shows_rule(self, *, shows: bool) -> None:
        """Show the rule with the next question, or do not."""
        self._settings.setValue("answer/show_rule", "yes" if shows else "no")

    def _word(self, name: str) -> str:
        value = self._settings.value(f"answer/{name}")
        return value if isinstance(value, str) else ""


def _where_key(possible: Iterable[str]) -> str:
    """Return under which key it is kept: apart, where a host has a name, and where it has none."""
    return "where_named" if Where.HOST_PORT.value in set(possible) else "where"


def _first(last: str, order: Iterable[str], possible: list[str]) -> str:
    for each in (last, *order):
        if each in possible:
            return str(each)
    return possible[0] if possible else ""
