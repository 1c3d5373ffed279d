"""What would have been asked, had the mode not been to decide in silence."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

from nfsnitch.core.events import FlowArrived
from nfsnitch.core.question import Question, Topic
from nfsnitch.core.ruleset import Ruling

MOST_SILENCED = 1_000


@dataclass(slots=True)
class _Entry:
    question: Question
    times: int = 1


class SilencedList:
    """One entry for each question; of more than there is room for, the oldest is forgotten."""

    def __init__(self) -> None:
        self._by_topic: OrderedDict[Topic, _Entry] = OrderedDict()
        self._topics: dict[int, Topic] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._by_topic)

    def note(self, topic: Topic, arrival: FlowArrived, ruling: Ruling, number: int) -> bool:
        """Take note of a flow, under *number* if that is a new question; False if one had to go."""
        entry = self._by_topic.get(topic)
        if entry is not None:
            entry.times += 1
            entry.question = replace(entry.question, asked=arrival.now, ruling=ruling)
            self._by_topic.move_to_end(topic)
            return True
        what = (ruling, arrival.flow, arrival.found, arrival.iface)
        question = Question(number, arrival.now, arrival.now.monotonic_ns, *what, flows=0)
        self._by_topic[topic] = _Entry(question)
        self._topics[number] = topic
        if len(self._by_topic) <= MOST_SILENCED:
            return True
        _, oldest = self._by_topic.popitem(last=False)
        del self._topics[oldest.question.number]
        return False

    def has(self, topic: Topic) -> bool:
        """Whether there is an entry for it."""
        return topic in self._by_topic

    def find(self, number: int) -> Question | None:
        """Return an entry."""
        topic = self._topics.get(number)
        return None if topic is None else self._seen(self._by_topic[topic])

    def forget(self, number: int) -> bool:
        """Forget an entry; False if there is none."""
        topic = self._topics.pop(number, None)
        if topic is None:
            return False
        del self._by_topic[topic]
        return True

    def entries(self) -> list[Question]:
        """Return them all, the one that was asked last at the end."""
        return [self._seen(each) for each in self._by_topic.values()]

    def _seen(self, entry: _Entry) -> Question:
        return replace(entry.question, times=entry.times)
