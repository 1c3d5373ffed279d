"""The desk at which answers are taken: it changes the engine's flows and the rules in force."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from nfsnitch.adapters.rulefile.answers import Block
from nfsnitch.adapters.rulefile.problems import Refused, RuleFileError
from nfsnitch.asking.book import AnswerBook
from nfsnitch.asking.composing import action_of, composed, process_of, scope_of
from nfsnitch.asking.duration import Duration, parse_duration
from nfsnitch.core.answer import Answer
from nfsnitch.core.decision import Action
from nfsnitch.core.instant import Instant
from nfsnitch.core.owner import Process
from nfsnitch.core.question import Question
from nfsnitch.core.text import shown
from nfsnitch.protocol import (
    FOREVER,
    MOST_ANSWERED,
    ONCE,
    PROCESS,
    AddRuleRequest,
    Answered,
    AnswerRequest,
    ChangeRuleRequest,
    Checked,
    CheckRuleRequest,
    MoveRuleRequest,
    Preview,
    PreviewRequest,
    Revoked,
    RevokeRequest,
    RuleSet,
)
from nfsnitch.threads import in_thread

_TRIES = 3
"""To save, while somebody else goes on writing the file."""


class World(NamedTuple):
    """What the desk needs of the daemon."""

    question: Callable[[int], Question | None]
    """Returns a question by its number, if it is asked, or would have been."""
    answered: Callable[[int, Answer], None]
    """Decides the flows that wait for a question."""
    rules_changed: Callable[[], None]
    """Puts the rules of the book in force, and has flows under way reviewed, soon."""
    now: Callable[[], Instant]


class _Made(NamedTuple):
    """The rule that one answer makes."""

    block: Block
    process: Process | None


class AnswerDesk:
    """Carries out what clients with the right to answer ask for."""

    def __init__(self, book: AnswerBook, world: World) -> None:
        """Keep rules in *book*."""
        self._book, self._world = book, world
        self._one_save = asyncio.Lock()

    @property
    def book(self) -> AnswerBook:
        """The rules that answers have made."""
        return self._book

    def tick(self) -> None:
        """Take away what has ended; to be called each second."""
        if self._book.tidy(self._world.now()):
            self._world.rules_changed()

    def file_changed(self) -> None:
        """Look whether somebody else has written the file of answers."""
        self._refresh()

    async def answer(self, request: AnswerRequest, uid: int) -> Answered:
        """Let flows go, and make the rules.

        Raises:
            Refused, RuleFileError: the answer makes no sense; nothing has been done.

        """
        action = action_of(request.action)
        duration = self._duration(request.duration)
        self._check(request)
        self._refresh()
        asked = self._asked(request.questions)
        if action is None or (duration.word == ONCE and request.rule is None):
            for number in request.questions:
                self._world.answered(number, Answer(action, None, uid))
            return Answered(tuple(asked), (), None)
        made = self._made(request, action, duration, asked)
        names = self._add_all(made, duration)
        for number in request.questions:
            self._world.answered(number, _answer(made.get(number), action, uid))
        if names:
            self._world.rules_changed()
        return Answered(tuple(asked), names, await self._saved())

    def preview(self, request: PreviewRequest) -> Preview:
        """Return the rule that an answer would make.

        Raises:
            Refused: it makes no sense.

        """
        action = action_of(request.action)
        duration = self._duration(request.duration)
        question = self._world.question(request.question)
        if question is None:
            raise Refused("it is asked no longer", "look at what is asked now")
        if action is None or duration.word == ONCE:
            return Preview("")
        scope = scope_of(question, request.who, request.where)
        return Preview(composed(question, scope, action, duration, self._book.taken_names()))

    def check(self, request: CheckRuleRequest) -> Checked:
        """Return what is wrong with a rule."""
        try:
            self._block(request.rule)
        except (RuleFileError, Refused) as error:
            return problems_of(error)
        return Checked(())

    async def add(self, request: AddRuleRequest) -> RuleSet:
        """Take a rule as if an answer had made it.

        Raises:
            Refused, RuleFileError: it makes no sense; nothing has been done.

        """
        duration = self._duration(request.duration)
        if duration.word in {ONCE, PROCESS}:
            raise Refused("this rule answers no question", "write restart, forever, 15m …")
        self._refresh()
        block = self._block(request.rule, duration)
        self._book.add(block, duration, self._world.now(), None)
        return await self._changed(block.rule.name)

    async def change(self, request: ChangeRuleRequest) -> RuleSet:
        """Put a rule in the place of one.

        Raises:
            Refused, RuleFileError: it makes no sense; nothing has been done.

        """
        self._refresh()
        block = self._block(request.rule)
        self._book.change(request.name, block)
        return await self._changed(block.rule.name)

    async def move(self, request: MoveRuleRequest) -> RuleSet:
        """Move a lasting rule.

        Raises:
            Refused: there is no such rule or place.

        """
        self._refresh()
        self._book.move(request.name, request.to)
        return await self._changed(request.name)

    async def revoke(self, request: RevokeRequest) -> Revoked:
        """Take a rule back.

        Raises:
            Refused: there is no such rule, or it could not be taken out of the file.

        """
        self._refresh()
        self._book.revoke(request.name)
        done = await self._changed(request.name)
        if done.problem is not None:
            raise Refused(f"it is gone until the daemon ends ({done.problem})", "mend the file")
        return Revoked(request.name)

    def _check(self, request: AnswerRequest) -> None:
        count = len(request.questions)
        if not 1 <= count <= MOST_ANSWERED or len(set(request.questions)) != count:
            raise Refused("questions are named once each", f"write 1 to {MOST_ANSWERED} numbers")
        if request.rule is not None and (count > 1 or request.action == "dismiss"):
            raise Refused("a rule of one's own answers one question", "write rule: null")

    def _asked(self, numbers: tuple[int, ...]) -> dict[int, Question]:
        found = ((number, self._world.question(number)) for number in numbers)
        return {number: question for number, question in found if question is not None}

    def _made(
        self, request: AnswerRequest, action: Action, duration: Duration, asked: dict[int, Question]
    ) -> dict[int, _Made]:
        """Return the rule of each question; nothing is done yet."""
        made: dict[int, _Made] = {}
        by_text: dict[str, _Made] = {}
        before = self._book.taken_names()
        taken = set(before)
        for number, question in asked.items():
            process = process_of(question) if duration.word == PROCESS else None
            if request.rule is not None:
                made[number] = _Made(self._block(request.rule, duration), process)
                continue
            scope = scope_of(question, request.who, request.where)
            # Without regard to those before: what is the same has the same name.
            plain = composed(question, scope, action, duration, before)
            if plain not in by_text:
                text = composed(question, scope, action, duration, taken)
                by_text[plain] = _Made(self._book.block(text), process)
                taken.add(by_text[plain].block.rule.name)
            made[number] = by_text[plain]
        return made

    def _add_all(self, made: dict[int, _Made], duration: Duration) -> tuple[str, ...]:
        different = {each.block.rule.name: each for each in made.values()}
        if duration.word == ONCE:
            return ()
        now = self._world.now()
        self._book.check_room(len(different), duration)
        for each in different.values():
            self._book.add(each.block, duration, now, each.process)
        return tuple(different)

    def _block(self, text: str, duration: Duration | None = None) -> Block:
        block = self._book.block(text)
        if block.rule.action is Action.ASK:
            raise Refused("an answer does not ask", "write action: allow, deny or reject")
        if duration is not None and duration.until and block.rule.expires_ns is None:
            why = f"the rule does not say that it ends, and the answer does ({duration.until})"
            raise Refused(why, f"write expires: {duration.until} in it, or answer {FOREVER}")
        return block

    def _duration(self, text: str) -> Duration:
        return parse_duration(text, self._world.now().wall_ns)

    async def _changed(self, name: str) -> RuleSet:
        self._world.rules_changed()
        return RuleSet(name, await self._saved())

    async def _saved(self) -> str | None:
        """See to it that the file says what it is to say; return why it does not."""
        async with self._one_save:
            problem = None
            for _ in range(_TRIES):
                if self._book.is_saved:
                    return None  # or whoever came before has written this, too
                problem = await self._save()
                if problem is None or not self._refresh():
                    break  # else somebody else has written the file, and ours is added to that
        return None if problem is None else f"{self._book.file_name}: {problem}"

    async def _save(self) -> str | None:
        problem: str | None = "the daemon stops"
        try:
            problem = await in_thread(self._book.begin_to_save())
        finally:
            self._book.saved(problem)
        return problem

    def _refresh(self) -> bool:
        """Take over what somebody else has written; whether there was anything."""
        is_new = self._book.refresh()
        if is_new:
            self._world.rules_changed()
        return is_new


def _answer(made: _Made | None, action: Action, uid: int) -> Answer:
    if made is None:
        return Answer(action, None, uid)
    rule = made.block.rule
    return Answer(rule.action, rule.name, uid)


def problems_of(error: RuleFileError | Refused) -> Checked:
    """Return what is wrong with a rule, as clients hear it."""
    if isinstance(error, Refused):
        row = {"line": 1, "column": 1, "what": "rule", "why": error.why, "instead": error.instead}
        return Checked((row,))
    return Checked(
        tuple(
            {
                "line": each.position.line,
                "column": each.position.column,
                "what": each.what,
                "why": each.why,
                "instead": each.instead,
            }
            for each in error.problems
        )
    )


def refusal_text(error: RuleFileError | Refused) -> str:
    """Return the same as one text."""
    if isinstance(error, Refused):
        return shown(str(error))
    return "; ".join(
        f"line {each.position.line}: {each.what}: {each.why}" for each in error.problems
    )
