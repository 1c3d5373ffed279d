"""What an answer is to be good for: chosen once, and kept for the next question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nfsnitch.prompt.durations import CYCLE
from nfsnitch.protocol import ONCE, Asked, Where, Who

_WITHOUT_NAME: Mapping[str, str] = {Where.HOST: Where.ADDRESS}
"""What is chosen where no name is known, if not address and port."""


@dataclass(slots=True)
class Choices:
    """For whom, for where and for how long; a question need not offer all of it."""

    who: str = Who.PROGRAM
    where: str = Where.HOST_PORT
    duration: str = ONCE

    def who_for(self, asked: Asked) -> str:
        """Return the choice, or what the question offers first."""
        return _offered(self.who, asked.who, Who.PROGRAM)

    def where_for(self, asked: Asked) -> str:
        """Return the choice, or the nearest to it that the question offers.

        Where no name is known, an address stands for the host; nothing stands for a domain.
        """
        without_name = _WITHOUT_NAME.get(self.where, Where.ADDRESS_PORT)
        return _offered(self.where, asked.where, without_name)

    def next_who(self, asked: Asked) -> None:
        """Choose what comes next among those that the question offers."""
        self.who = _next(self.who_for(asked), tuple(asked.who))

    def next_where(self, asked: Asked) -> None:
        """Choose what comes next among those that the question offers."""
        self.where = _next(self.where_for(asked), tuple(asked.where))

    def next_duration(self, step: int = 1) -> None:
        """Choose the next duration, or with -1 the one before."""
        at = CYCLE.index(self.duration) if self.duration in CYCLE else len(CYCLE) - 1
        self.duration = CYCLE[(at + step) % len(CYCLE)]


def _offered(chosen: str, offered: Mapping[str, str], otherwise: str) -> str:
    if chosen in offered or not offered:
        return chosen
    return otherwise if otherwise in offered else next(iter(offered))


def _next(chosen: str, offered: tuple[str, ...]) -> str:
    if chosen not in offered:
        return chosen
    return offered[(offered.index(chosen) + 1) % len(offered)]
