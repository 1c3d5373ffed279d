"""What the screen shows: lines of styled text, made to fit any size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from nfsnitch.core.text import counted, shown
from nfsnitch.prompt.board import Waiting
from nfsnitch.prompt.columns import fitted, padded, width, wrapped
from nfsnitch.prompt.durations import in_words
from nfsnitch.prompt.prompter import Prompter
from nfsnitch.prompt.rule_pane import RulePane
from nfsnitch.prompt.words import Fact, facts, headline, in_short, where_words, who_words
from nfsnitch.protocol import ONCE, Mode

Line = list[tuple[str, str]]
"""Style and text of each piece."""

PLAIN, STRONG, FAINT, LOUD, HEAD, KEYS = "", "strong", "faint", "loud", "head", "keys"
_NAME_COLUMNS = 12
_FACT_LINES = 3
_SOON_S = 10
_ANSWER_KEYS = "a allow   d deny   r reject   s dismiss"
_OTHER_KEYS = "p rule  E edit  m mode  q quit  ? help"


class _Room(NamedTuple):
    """How many lines each part has."""

    body: int
    listed: int
    notices: int
    has_rules: bool
    """Whether a line is drawn between the parts."""


def picture(prompter: Prompter, columns: int, rows: int) -> list[Line]:
    """Return exactly so many rows of at most so many columns."""
    prompter.looked()
    room = _room(prompter, rows)
    body = list(_body(prompter, columns, room.body))
    lines = [_header(prompter, columns), *body, *([[]] * (room.body - len(body)))]
    if room.listed:
        lines += [[(FAINT, "─" * columns)]] * room.has_rules
        lines += _list(prompter, columns, room.listed)
    lines += [[(FAINT, "─" * columns)]] * (room.has_rules and room.notices > 0)
    lines += _notices(prompter, columns, room.notices)
    return [_cut(line, columns) for line in lines[:rows]]


def question_lines(prompter: Prompter, columns: int) -> Iterator[str]:
    """Yield the question under the cursor, whatever its length, but for what can be chosen."""
    waiting = prompter.session.board.current
    if waiting is not None:
        yield from map(_plain, _top(prompter, waiting, columns))
        yield from map(_plain, _facts(prompter, waiting, columns))


def choice_lines(prompter: Prompter, columns: int) -> Iterator[str]:
    """Yield what has been chosen for the question under the cursor."""
    waiting = prompter.session.board.current
    if waiting is not None:
        yield from map(_plain, _choices(prompter, waiting, columns))


def _plain(line: Line) -> str:
    return "".join(text for _, text in line)


def _cut(line: Line, columns: int) -> Line:
    """Return a line in no more columns than there are: on the smallest of screens some are long."""
    left = columns
    pieces: Line = []
    for style, text in line:
        pieces.append((style, fitted(text, left)))
        left -= width(pieces[-1][1])
    return pieces


def _room(prompter: Prompter, rows: int) -> _Room:
    session = prompter.session
    questions = len(session.board)
    if not questions and prompter.pane is None:
        return _Room(min(3, rows - 1), 0, max(0, rows - 5), has_rules=rows > 5)  # noqa: PLR2004
    has_rules = rows >= 20  # noqa: PLR2004  a terminal that is not small
    notices = min(len(session.notices) * 2, max(1, rows // 8)) if rows >= 10 else 0  # noqa: PLR2004
    listed = min(questions, max(2, rows // 5)) if questions > 1 and rows >= 16 else 0  # noqa: PLR2004
    drawn = has_rules * ((listed > 0) + (notices > 0))
    return _Room(max(0, rows - 1 - listed - notices - drawn), listed, notices, has_rules)


def _header(prompter: Prompter, columns: int) -> Line:
    session = prompter.session
    if session.asking is None:
        left, right = " nfsnitch: no daemon, waiting for one", ""
    else:
        left = f" nfsnitch: {counted(len(session.board), 'question')}"
        left += "" if session.may_answer else ", you may look only"
        right = f"mode {shown(session.mode)}{_left(session.mode_left_s())} "
    if width(left) + 1 + width(right) > columns:
        right = right.partition(" (")[0].removeprefix("mode ").strip() + " "
    right = fitted(right, max(0, columns - width(left) - 1))
    style = HEAD if session.mode in {"", Mode.ASK} else f"{HEAD} {LOUD}"
    return [(style, padded(left, columns - width(right)) + right)]


def _left(left_s: float | None) -> str:
    if left_s is None:
        return ""
    return f" ({left_s / 60:.0f} min left)" if left_s >= 60 else f" ({left_s:.0f} s left)"  # noqa: PLR2004


def _body(prompter: Prompter, columns: int, rows: int) -> Iterator[Line]:
    waiting = prompter.session.board.current
    if prompter.pane is not None:
        yield from _pane(prompter, columns, rows)
    elif waiting is not None:
        yield from islice(_question(prompter, waiting, columns, rows), rows)
    elif prompter.session.asking is not None:
        yield []
        yield [(PLAIN, fitted(" Nothing is asked.   m mode   q quit   ? help", columns))]


def _pane(prompter: Prompter, columns: int, rows: int) -> Iterator[Line]:
    pane = prompter.pane
    if pane is None:
        return
    yield [(STRONG, fitted(f" {pane.title}", columns))]
    lines = [[(PLAIN, f" {each}")] for each in _all_wrapped(pane.lines(), columns - 1)]
    below: list[Line] = []
    waiting = prompter.session.board.current
    if isinstance(pane, RulePane) and not pane.is_edited and waiting is not None:
        below += _choices(prompter, waiting, columns)
    below += ([(KEYS, f" {each}")] for each in wrapped(pane.keys, columns - 1))
    yield from _some(prompter, lines, columns, rows - 1 - len(below))
    yield from below


def _question(prompter: Prompter, waiting: Waiting, columns: int, rows: int) -> Iterator[Line]:
    top = list(_top(prompter, waiting, columns))
    below = [*_choices(prompter, waiting, columns), *_key_lines(prompter, waiting, columns)]
    left = rows - len(top) - len(below)
    yield from top
    if left > 2:  # noqa: PLR2004
        yield []
        left -= 2
        yield from _some(prompter, list(_facts(prompter, waiting, columns)), columns, left)
        yield []
    else:
        yield from _some(prompter, list(_facts(prompter, waiting, columns)), columns, left)
    yield from below


def _some(prompter: Prompter, lines: list[Line], columns: int, rows: int) -> Iterator[Line]:
    """Yield so many of the lines, from where the person has scrolled to."""
    if len(lines) <= rows:
        prompter.scrolled = 0
        yield from lines
        yield from ([] for _ in range(rows - len(lines)))
        return
    if rows <= 0:
        return
    prompter.scrolled = min(prompter.scrolled, len(lines) - rows + 1)
    yield from lines[prompter.scrolled : prompter.scrolled + rows - 1]
    below = len(lines) - prompter.scrolled - rows + 1
    text = f" … {below} more: PgDn" if below else " end: PgUp"
    yield [(FAINT, fitted(text, columns))]


def _top(prompter: Prompter, waiting: Waiting, columns: int) -> Iterator[Line]:
    for each in islice(wrapped(headline(waiting.asked), columns - 1), _FACT_LINES):
        yield [(STRONG, f" {each}")]
    session = prompter.session
    left_s = max(0.0, waiting.until_s - session.clock())
    then = shown(session.asking.unanswered) if session.asking else "?"
    text = f" question {waiting.asked.number}: {left_s:.0f} s left, then {then}"
    yield [(LOUD if left_s < _SOON_S else PLAIN, fitted(text, columns))]


def _facts(prompter: Prompter, waiting: Waiting, columns: int) -> Iterator[Line]:
    for fact in facts(waiting.asked):
        yield from _fact(fact, columns, None if prompter.shows_all else _FACT_LINES)


def _fact(fact: Fact, columns: int, most: int | None) -> Iterator[Line]:
    style = LOUD if fact.is_loud else PLAIN
    lines = list(wrapped(fact.text, max(8, columns - _NAME_COLUMNS - 1)))
    if most is not None and len(lines) > most:
        lines[most - 1 :] = [f"… v: all {len(lines)} lines"]
    for at, line in enumerate(lines):
        name = "" if at else fact.name
        yield [(style or FAINT, f" {padded(name, _NAME_COLUMNS)}"), (style, line)]


def _choices(prompter: Prompter, waiting: Waiting, columns: int) -> Iterator[Line]:
    choices, asked = prompter.session.choices, waiting.asked
    is_once = choices.duration == ONCE
    rows = {
        "w for whom": (who_words(asked, choices.who_for(asked)), is_once),
        "e where to": (where_words(asked, choices.where_for(asked)), is_once),
        "t how long": (in_words(choices.duration), False),
    }
    for name, (text, is_idle) in rows.items():
        cut = fitted(text, columns - _NAME_COLUMNS - 1)
        yield [(KEYS, f" {padded(name, _NAME_COLUMNS)}"), (FAINT if is_idle else PLAIN, cut)]


def _key_lines(prompter: Prompter, waiting: Waiting, columns: int) -> Iterator[Line]:
    session = prompter.session
    style, text = KEYS, _ANSWER_KEYS
    if not session.may_answer:
        text = "you may look only"
    elif session.is_answering(waiting.asked.number):
        text = "answered; the daemon has not said yet"
    elif not prompter.is_ready():
        style, text = FAINT, "a moment to read it, then the keys count"
    yield from ([(style, f" {each}")] for each in wrapped(text, columns - 1))
    yield from ([(FAINT, f" {each}")] for each in wrapped(_OTHER_KEYS, columns - 1))


def _list(prompter: Prompter, columns: int, rows: int) -> Iterator[Line]:
    board = prompter.session.board
    first = max(0, min(board.place - rows // 2, len(board) - rows))
    for at, waiting in enumerate(islice(board, first, first + rows), first):
        number = waiting.asked.number
        mark = ">" if at == board.place else " "
        chosen = "*" if number in board.selected else " "
        left_s = max(0.0, waiting.until_s - prompter.session.clock())
        end = f" {left_s:.0f} s "
        text = padded(f"{mark}{chosen}{number}  {in_short(waiting.asked)}", columns - len(end))
        yield [(STRONG if at == board.place else PLAIN, text + end)]


def _notices(prompter: Prompter, columns: int, rows: int) -> list[Line]:
    """Return the last notices, each whole if there is room."""
    lines: list[Line] = []
    for notice in reversed(prompter.session.notices):
        texts = wrapped(notice.text, max(8, columns - 11))
        whole: list[Line] = [
            [(FAINT, f" {'' if at else notice.time:8}  "), (PLAIN, text)]
            for at, text in enumerate(texts)
        ]
        if lines and len(whole) + len(lines) > rows:
            break
        lines = [*whole[:rows], *lines]
    is_below_question = len(prompter.session.board) > 0 or prompter.pane is not None
    return [*([[]] * ((rows - len(lines)) * is_below_question)), *lines]


def _all_wrapped(lines: Iterable[str], columns: int) -> Iterator[str]:
    for line in lines:
        yield from wrapped(line, columns)
