"""What people are asked, and are told of it; and what they would have been asked, in silence."""

from __future__ import annotations

from collections.abc import Iterable

from nfsnitch.core.answer import Answer
from nfsnitch.core.commands import Command, Count, EndQuestion, ShowQuestion
from nfsnitch.core.counters import Counter
from nfsnitch.core.events import FlowArrived
from nfsnitch.core.holding import Held
from nfsnitch.core.question import Question, Questions, Topic, topic_of
from nfsnitch.core.ruleset import Ruling
from nfsnitch.core.silenced import SilencedList
from nfsnitch.protocol.words import Outcome


class Inquiry:
    """Owns the questions, and says what is to be done about them. The engine alone asks it."""

    def __init__(self) -> None:
        self._questions = Questions()
        self._silenced = SilencedList()

    @property
    def questions(self) -> list[Question]:
        """What is asked now, the earliest first."""
        return self._questions.asked()

    @property
    def silenced(self) -> list[Question]:
        """What would have been asked in a silent mode, the latest last."""
        return self._silenced.entries()

    def question(self, number: int) -> Question | None:
        """Return a question that is asked, or would have been; None if it has ended."""
        return self._questions.find(number) or self._silenced.find(number)

    def flows_of(self, topic: Topic) -> int:
        """Return how many flows wait of the program (or those that it may be) in *topic*."""
        return self._questions.flows_of(topic.senders)

    def ask(self, held: Held, topic: Topic) -> list[Command]:
        """Have a held flow wait for an answer, until that question's time is over."""
        question = self._questions.ask(held, topic)
        asked = [Count(Counter.ASKED)] if question.flows == 1 else []
        return [ShowQuestion(question), *asked]

    def changed(self, held: Held) -> list[Command]:
        """Show what has come to be known of a flow to those who are asked about it."""
        question = self._questions.changed(held)
        return [ShowQuestion(question)] if question else []

    def waiting_for(self, number: int) -> Iterable[Held]:
        """Return the flows that wait for an answer; none if that is not asked (any more)."""
        return self._questions.waiting_for(number)

    def leave(self, held: Held, outcome: Outcome, answer: Answer | None = None) -> list[Command]:
        """Let a flow wait no longer, and end its question with *outcome* if no other flow waits."""
        number = self._questions.leave(held)
        return [] if number is None else [EndQuestion(number, outcome, answer)]

    def silence(self, arrival: FlowArrived, ruling: Ruling) -> list[Command]:
        """Take note of a flow about which nobody was asked, for the mode."""
        topic = topic_of(arrival.flow, arrival.found)
        number = 0 if self._silenced.has(topic) else self._questions.next_number()
        had_room = self._silenced.note(topic, arrival, ruling, number)
        return [Count(Counter.SILENCED), *([] if had_room else [Count(Counter.SILENCED_FORGOTTEN)])]

    def forget_silenced(self, number: int) -> bool:
        """Forget what would have been asked; False if there is no such entry."""
        return self._silenced.forget(number)
