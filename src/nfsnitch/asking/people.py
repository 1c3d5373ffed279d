"""All that the daemon does for people who are asked: one object for the daemon to wire."""

from __future__ import annotations

import asyncio
import collections
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from nfsnitch.adapters.control_errors import RefusalError
from nfsnitch.adapters.control_questions import QuestionStream, Source
from nfsnitch.adapters.peer import Peer
from nfsnitch.adapters.rulefile.problems import Refused, RuleFileError, listed, quoted
from nfsnitch.asking import rows
from nfsnitch.asking.book import AnswerBook
from nfsnitch.asking.desk import AnswerDesk, World, problems_of, refusal_text
from nfsnitch.asking.excerpts import excerpts
from nfsnitch.core.alike import Alike, whole
from nfsnitch.core.answer import Answer
from nfsnitch.core.commands import EndQuestion, ShowQuestion, TellMode
from nfsnitch.core.engine import Engine
from nfsnitch.core.events import Instant, LiveFlow
from nfsnitch.core.name import NOT_LOOKED_UP, Names
from nfsnitch.core.owner import Owner
from nfsnitch.core.record import Record
from nfsnitch.protocol import (
    MOST_ROWS,
    AddRuleRequest,
    Answered,
    AnswerRequest,
    Asked,
    Asking,
    ChangeRuleRequest,
    Checked,
    CheckRuleRequest,
    Connections,
    ConnectionsRequest,
    Ended,
    History,
    HistoryRequest,
    Mode,
    ModeChanged,
    ModeRequest,
    ModeSet,
    MoveRuleRequest,
    Preview,
    PreviewRequest,
    Reply,
    Request,
    Revoked,
    RevokeRequest,
    Right,
    RuleKind,
    Rules,
    RulesChanged,
    RuleSet,
    RulesRequest,
    Silenced,
    SilencedRequest,
    Why,
)
from nfsnitch.threads import in_thread
from nfsnitch.worker import Worker

_T = TypeVar("_T")

MOST_HISTORY = 500
MOST_CONNECTIONS = 400
_MOST_MODE_S = 86_400.0
_LOOK_STEP_S = 0.002
_LOOK_AGAIN_S = 1.0


def _nobody_asked(_owner: Owner, _daddr: bytes) -> Names:
    return NOT_LOOKED_UP


class Doing(NamedTuple):
    """What people's answers do."""

    worker: Worker
    amend: Callable[[], None]
    """Puts the rules that answers have made in force."""
    review: Callable[[], None]
    """Has the flows under way looked at by the rules of now, soon."""
    look: Callable[[], Iterator[LiveFlow | None]]
    """Yields the flows under way."""
    stream: QuestionStream
    names_of: rows.NamesOf = _nobody_asked


class People:
    """What is asked of them, and what they answer."""

    def __init__(self, engine: Engine, book: AnswerBook, now: Callable[[], Instant]) -> None:
        """Ask what *engine* wants asked, and keep rules in *book*; `begin` comes next."""
        self._engine, self._book, self._now = engine, book, now
        self._doing: Doing | None = None
        world = World(engine.question, self._answered, self._rules_changed, now)
        self._desk = AnswerDesk(book, world)
        self._history: collections.deque[Record | Alike] = collections.deque(maxlen=MOST_HISTORY)
        self._records = 0
        self._connections: Connections | None = None
        self._looked_s = 0.0
        self._one_look = asyncio.Lock()

    @property
    def book(self) -> AnswerBook:
        """The rules that answers have made."""
        return self._book

    @property
    def source(self) -> Source:
        """What the stream of questions tells clients."""
        return Source(self._asking, self._numbers, self._question)

    @property
    def others(self) -> Mapping[type[Request], Callable[[Any, Peer], Reply | Awaitable[Reply]]]:
        """What clients may ask for."""
        return MappingProxyType(
            {
                AnswerRequest: self._answer,
                PreviewRequest: self._preview,
                SilencedRequest: self._silenced,
                ModeRequest: self._set_mode,
                RulesRequest: self._rules,
                CheckRuleRequest: self._check,
                AddRuleRequest: self._add,
                ChangeRuleRequest: self._change,
                MoveRuleRequest: self._move,
                RevokeRequest: self._revoke,
                HistoryRequest: self._past,
                ConnectionsRequest: self._live,
            }
        )

    def begin(self, doing: Doing) -> None:
        """Do something with answers from here on."""
        self._doing = doing

    def tell(self, news: ShowQuestion | EndQuestion | TellMode) -> None:
        """Let people know."""
        stream = self._stream
        if isinstance(news, ShowQuestion):
            stream.asked(news.question.number)
        elif isinstance(news, TellMode):
            stream.notify(ModeChanged(news.mode.value, self._left_s(news.until_ns)))
            self._to_do.review()
        else:
            answer = news.answer
            action = answer.action.value if answer and answer.action else None
            uid = answer.uid if answer else None
            stream.ended(Ended(news.number, news.outcome.value, action, uid))

    def record(self, record: Record) -> None:
        """Keep a record for those who ask what has been."""
        self._records += 1
        self._history.append(record)

    def record_alike(self, records: Sequence[Alike]) -> None:
        """Keep many of them."""
        self._records += len(records)
        self._history.extend(records)

    def rules_in_force(self) -> None:
        """Let people know that the rules are others."""
        self._stream.notify(RulesChanged(self._engine.generation))

    def tick(self) -> None:
        """Take away what has ended; to be called each second."""
        self._desk.tick()

    def file_changed(self) -> None:
        """Look whether somebody has written the file of answers."""
        self._desk.file_changed()

    def close(self) -> None:
        """Write what has not been written yet."""
        if not self._book.is_saved:
            self._book.saved(self._book.begin_to_save()())

    @property
    def mode(self) -> tuple[Mode, float | None]:
        """The mode, and for how many seconds it stays (None: until somebody sets it)."""
        mode, until_ns = self._engine.mode
        return mode, self._left_s(until_ns)

    @property
    def _to_do(self) -> Doing:
        if self._doing is None:
            raise RuntimeError("nobody has been asked yet")
        return self._doing

    @property
    def _stream(self) -> QuestionStream:
        return self._to_do.stream

    def _answered(self, number: int, answer: Answer) -> None:
        self._to_do.worker.answered(number, answer)

    def _rules_changed(self) -> None:
        self._to_do.amend()
        self.rules_in_force()
        self._to_do.review()

    def _left_s(self, until_ns: int | None) -> float | None:
        return None if until_ns is None else max(0, until_ns - self._now().monotonic_ns) / 1e9

    def _asking(self, rights: frozenset[Right]) -> Asking:
        mode, left_s = self.mode
        ruleset = self._engine.ruleset
        may = tuple(sorted(right.value for right in rights))
        unanswered = ruleset.unanswered.value
        return Asking(may, mode.value, left_s, ruleset.ask_timeout_ns / 1e9, unanswered)

    def _numbers(self) -> list[int]:
        return [question.number for question in self._engine.questions]

    def _question(self, number: int) -> Asked | None:
        question = self._engine.question(number)
        if question is None or question.times is not None:
            return None
        return rows.asked(question, self._now())

    async def _answer(self, request: AnswerRequest, peer: Peer) -> Answered:
        return await _refusing(self._desk.answer(request, peer.uid))

    def _preview(self, request: PreviewRequest, _peer: Peer) -> Preview:
        try:
            return self._desk.preview(request)
        except Refused as refused:
            raise _refusal(refused) from None

    def _silenced(self, request: SilencedRequest, _peer: Peer) -> Silenced:
        listed_now, now = self._engine.silenced, self._now()
        some = listed_now[request.first : request.first + MOST_ROWS]
        return Silenced(len(listed_now), rows.page(rows.silenced(each, now) for each in some))

    def _set_mode(self, request: ModeRequest, _peer: Peer) -> ModeSet:
        if request.mode not in list(Mode):
            text = f"there is no mode {quoted(request.mode)}; write {listed(Mode)}"
            raise RefusalError(Why.BAD_ANSWER, text)
        until_ns = None
        if request.for_s is not None:
            if not 0 < request.for_s <= _MOST_MODE_S:
                raise RefusalError(Why.BAD_ANSWER, "a mode that ends does so within a day")
            until_ns = self._now().monotonic_ns + int(request.for_s * 1e9)
        self._to_do.worker.mode_set(Mode(request.mode), until_ns)
        mode, left_s = self.mode
        return ModeSet(mode.value, left_s)

    async def _rules(self, request: RulesRequest, peer: Peer) -> Rules:
        first, now, generation = request.first, self._now(), self._engine.generation
        end = first + MOST_ROWS
        if request.kind == RuleKind.LASTING:
            total = len(self._book.lasting.blocks)
            some = rows.lasting_rows(self._book, first, MOST_ROWS, now)
            return Rules(generation, total, rows.page(some))
        if request.kind == RuleKind.TEMPORARY:
            each = self._book.temporary
            some = rows.temporary_rows(each[first:end], now)
            return Rules(generation, len(each), rows.page(some))
        if request.kind != RuleKind.FILE:
            text = f"there is no kind {quoted(request.kind)}; write {listed(RuleKind)}"
            raise RefusalError(Why.BAD_ANSWER, text)
        rules = self._engine.ruleset.rules
        listed_now, following = rules[first:end], rules[end : end + 1]
        after = following[0] if following else None
        texts = await in_thread(lambda: excerpts(listed_now, after, for_root=peer.uid == 0))
        some = rows.file_rows(listed_now, texts, now)
        return Rules(generation, len(rules), rows.page(some))

    def _check(self, request: CheckRuleRequest, _peer: Peer) -> Checked:
        return self._desk.check(request)

    async def _add(self, request: AddRuleRequest, _peer: Peer) -> RuleSet | Checked:
        return await _or_problems(self._desk.add(request))

    async def _change(self, request: ChangeRuleRequest, _peer: Peer) -> RuleSet | Checked:
        return await _or_problems(self._desk.change(request))

    async def _move(self, request: MoveRuleRequest, _peer: Peer) -> RuleSet:
        return await _refusing(self._desk.move(request), Why.NO_SUCH_RULE)

    async def _revoke(self, request: RevokeRequest, _peer: Peer) -> Revoked:
        return await _refusing(self._desk.revoke(request), Why.NO_SUCH_RULE)

    def _past(self, request: HistoryRequest, _peer: Peer) -> History:
        kept = list(self._history)
        oldest = self._records - len(kept) + 1
        newest = self._records + 1
        end = newest if request.before is None else min(request.before, newest)
        first = max(oldest, end - MOST_ROWS)
        some = kept[first - oldest : max(0, end - oldest)]
        latest_first = rows.page(rows.record_row(whole(record)) for record in reversed(some))
        return History(first + len(some) - len(latest_first), latest_first[::-1])

    async def _live(self, _request: ConnectionsRequest, _peer: Peer) -> Connections:
        async with self._one_look:
            now_s = time.monotonic()
            if self._connections is None or now_s - self._looked_s > _LOOK_AGAIN_S:
                self._connections = await self._look()
                self._looked_s = time.monotonic()
            return self._connections

    async def _look(self) -> Connections:
        """Look at the flows under way, in steps between which packets are decided."""
        total, found = 0, list[dict[str, Any]]()
        names_of, now = self._to_do.names_of, self._now()
        until_s = time.monotonic() + _LOOK_STEP_S
        for live in self._to_do.look():
            row = None if live is None else rows.connection_row(live, names_of, now)
            if row is not None:
                total += 1
                if len(found) < MOST_CONNECTIONS:
                    found.append(row)
            if time.monotonic() >= until_s:
                await asyncio.sleep(0)
                until_s = time.monotonic() + _LOOK_STEP_S
        return Connections(total, rows.page(found))


async def _refusing(reply: Coroutine[Any, Any, _T], why: Why = Why.BAD_ANSWER) -> _T:
    try:
        return await reply
    except (Refused, RuleFileError) as error:
        raise RefusalError(why, refusal_text(error)) from None


async def _or_problems(reply: Coroutine[Any, Any, RuleSet]) -> RuleSet | Checked:
    try:
        return await reply
    except (Refused, RuleFileError) as error:
        return problems_of(error)


def _refusal(error: Refused | RuleFileError) -> RefusalError:
    return RefusalError(Why.BAD_ANSWER, refusal_text(error))
