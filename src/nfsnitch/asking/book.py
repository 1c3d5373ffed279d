"""The rules that answers have made: those kept in a file, and those that are forgotten.

All that is here is in memory and at once; `AnswerBook.save` alone waits for the disk, elsewhere.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from nfsnitch.adapters.answers_file import AnswersFile
from nfsnitch.adapters.rulefile.answers import EMPTY, AnswersText, Block, read_answers
from nfsnitch.adapters.rulefile.files import Source
from nfsnitch.adapters.rulefile.names import Names
from nfsnitch.adapters.rulefile.problems import Refused, RuleFileError, quoted
from nfsnitch.asking.duration import Duration
from nfsnitch.core.conditions import OneProcessCondition
from nfsnitch.core.instant import Instant
from nfsnitch.core.owner import Process
from nfsnitch.core.rule import Rule
from nfsnitch.core.text import shown
from nfsnitch.core.timed import DeadlineCondition

MOST_LASTING = 4_000
MOST_TEMPORARY = 1_000
MOST_CHARACTERS = 4_000
"""Of one rule: so many rules of them are as much as a file may have."""
_MOST_UNWRITTEN = 10_000
"""Changes that wait for a disk that takes none."""

_log = logging.getLogger(__name__)


class Temporary(NamedTuple):
    """A rule that is not kept."""

    block: Block
    until_ns: int | None
    """Monotonic; None: until the daemon ends."""
    process: Process | None
    """It ends with this process."""

    @property
    def rule(self) -> Rule:
        """The rule, with what ends it."""
        rule, ends = self.block.rule, list[OneProcessCondition | DeadlineCondition]()
        if self.process is not None:
            process = self.process
            ends.append(OneProcessCondition("pid", process.pid, process.start_time_ns))
        if self.until_ns is not None:
            ends.append(DeadlineCondition("expires", self.until_ns))
        return replace(rule, conditions=(*ends, *rule.conditions), origin="an answer")


class _Deed(NamedTuple):
    """A change of the file that makes sense whatever else it says."""

    name: str | None = None
    """Of the rule that is replaced, moved or taken away; None: one is added."""
    block: Block | None = None
    """What is added or put in its place."""
    to: int | None = None
    """Where it is moved to."""

    def done_to(self, text: AnswersText) -> AnswersText:
        """Return *text* with this done; *text* itself if there is nothing to do."""
        at = None if self.name is None else text.index(self.name)
        if self.block is not None:
            if text.index(self.block.rule.name) not in {None, at}:
                return text  # that name is another's now
            return text.with_block(self.block) if at is None else text.replaced(at, self.block)
        if at is None:
            return text
        if self.to is None:
            return text.without(at)
        return text.moved(at, min(self.to, len(text.blocks) - 1))


class AnswerBook:
    """Those of one daemon."""

    def __init__(
        self, file: AnswersFile, names: Names, is_alive: Callable[[Process], bool]
    ) -> None:
        """Keep lasting ones in *file*."""
        self._file = file
        self._names = names
        self._is_alive = is_alive
        self._text = self._read(Source(0, self.file_name, EMPTY))
        self.temporary: list[Temporary] = []
        self.problem: str | None = None
        """What is wrong with the file: then it is neither used nor written."""
        self._unsaved = False
        self._deeds: list[_Deed] = []
        """What the file does not say yet."""
        self._saving = False
        self._one_writer = threading.Lock()
        self._deeds_written = 0
        """How many of these are being saved."""
        self._look_at = 0

    @property
    def file_name(self) -> str:
        """The file's path, fit to be shown."""
        return shown(os.fspath(self._file.path))

    @property
    def lasting(self) -> AnswersText:
        """Those kept in the file, as it is (to be)."""
        return self._text

    def rules(self) -> tuple[Rule, ...]:
        """Return all, in the order in which they decide: what holds for the moment goes first."""
        origin = self.file_name
        lasting = (replace(rule, origin=origin) for rule in self._text.rules)
        return (*(each.rule for each in self.temporary), *lasting)

    def taken_names(self) -> set[str]:
        """Return the names of all."""
        return {each.block.rule.name for each in self.temporary} | {
            rule.name for rule in self._text.rules
        }

    def refresh(self) -> bool:
        """Read the file if somebody else has written it; whether there is anything new."""
        if self._saving or not self._file.has_changed():
            return False
        before = self._text, self.problem
        self.problem = self._load()
        if self.problem is None:
            self._do_again()
        if self.problem is not None:
            _log.error("answers are not kept until this is mended: %s", self.problem)
        return (self._text, self.problem) != before

    def block(self, text: str) -> Block:
        """Return a rule that somebody has written.

        Raises:
            RuleFileError: something is wrong with it.
            Refused: it is too long.

        """
        if len(text) > MOST_CHARACTERS:
            raise Refused(f"a rule has {MOST_CHARACTERS} characters at most", "write a shorter one")
        return self._text.block_of(text, self._names)

    def add(self, block: Block, duration: Duration, now: Instant, process: Process | None) -> None:
        """Take a rule; *process* is the one that it ends with.

        Raises:
            Refused: there are too many, the name is taken, or the file cannot be used.

        """
        self._check_name(block.rule.name, None)
        self.check_room(1, duration)
        if duration.is_lasting:
            self._do(_Deed(block=block))
            return
        for_s = duration.for_s
        until_ns = None if for_s is None else now.monotonic_ns + for_s * 1_000_000_000
        self.temporary.append(Temporary(block, until_ns, process))

    def check_room(self, count: int, duration: Duration) -> None:
        """See that there is room for so many further rules.

        Raises:
            Refused: there is none, or the file cannot be used.

        """
        if duration.is_lasting:
            self._check_file()
            if len(self._text.blocks) + count > MOST_LASTING:
                raise Refused(f"there can be {MOST_LASTING} answers", "revoke some of them")
        elif len(self.temporary) + count > MOST_TEMPORARY:
            raise Refused(f"there can be {MOST_TEMPORARY} that end", "revoke some of them")

    def change(self, name: str, block: Block) -> None:
        """Put a rule in the place of one.

        Raises:
            Refused: there is none, the new name is taken, or the file cannot be used.

        """
        self._check_name(block.rule.name, name)
        at = self._temporary_index(name)
        if at is not None:
            self.temporary[at] = self.temporary[at]._replace(block=block)
            return
        self._lasting_index(name)
        self._do(_Deed(name, block))

    def move(self, name: str, to: int) -> None:
        """Move a lasting rule to another place among them.

        Raises:
            Refused: there is no such rule or place, or the file cannot be used.

        """
        self._lasting_index(name)
        if to >= len(self._text.blocks):
            raise Refused(f"there are {len(self._text.blocks)} rules", "count from 0")
        self._do(_Deed(name, to=to))

    def revoke(self, name: str) -> None:
        """Take a rule away.

        Raises:
            Refused: there is none, or the file cannot be used.

        """
        at = self._temporary_index(name)
        if at is not None:
            del self.temporary[at]
            return
        self._lasting_index(name)
        self._do(_Deed(name))

    def tidy(self, now: Instant) -> bool:
        """Forget temporary rules that have ended; whether there were any."""
        before = len(self.temporary)
        # One process is looked at each time: that is not done for nothing.
        looked_at = self._look_at = (self._look_at + 1) % max(1, before)
        self.temporary = [
            each
            for at, each in enumerate(self.temporary)
            if not _is_over(each, now)
            and (at != looked_at or each.process is None or self._is_alive(each.process))
        ]
        return len(self.temporary) != before

    @property
    def is_saved(self) -> bool:
        """Whether the file says what it is to say."""
        return not self._unsaved

    def begin_to_save(self) -> Callable[[], str | None]:
        """Return what writes the file as it is to be: it waits for the disk, and says what failed.

        `saved` has to be told of the outcome.
        """
        text, file, broken = self._text.text, self._file, self.problem
        self._unsaved, self._saving = False, True
        self._deeds_written = len(self._deeds)

        def save() -> str | None:
            if broken is not None:
                return f"it has to be mended first ({_first_line(broken)})"
            with self._one_writer:
                if file.has_changed():
                    return "somebody has changed it meanwhile; reload, and answer again"
                try:
                    file.write(text)
                except OSError as problem:
                    return problem.strerror or str(problem)
            return None

        return save

    def saved(self, problem: str | None) -> None:
        """Hear what became of a save."""
        self._saving = False
        if problem is None:
            del self._deeds[: self._deeds_written]
        self._unsaved |= problem is not None

    def _load(self) -> str | None:
        try:
            text = self._file.read()
            self._text = self._read(Source(0, self.file_name, EMPTY if text is None else text))
        except RuleFileError as error:
            return str(error)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            return f"{self.file_name}: it cannot be read: {reason or error}"
        return None

    def _do_again(self) -> None:
        """Do what had not been written when somebody else wrote the file."""
        deeds, self._deeds, self._unsaved = self._deeds, [], False
        for deed in deeds:
            try:
                block = None if deed.block is None else self.block(deed.block.text)
            except (RuleFileError, Refused) as error:  # a group that it names is gone
                _log.error("an answer is lost: %s", error)
                continue
            self._do(deed._replace(block=block))

    def _read(self, source: Source) -> AnswersText:
        return read_answers(source, self._names)

    def _do(self, deed: _Deed) -> None:
        text = deed.done_to(self._text)
        if text is not self._text:
            self._text = text
            self._deeds.append(deed)
            self._unsaved = True

    def _check_name(self, name: str, but: str | None) -> None:
        if name != but and name in self.taken_names():
            raise Refused(f"there is a rule {quoted(name)} already", "give it a name of its own")

    def _check_file(self) -> None:
        if self.problem is not None:
            why = f"the file of answers cannot be used ({_first_line(self.problem)})"
            raise Refused(why, "mend it, and reload")
        if len(self._deeds) >= _MOST_UNWRITTEN:
            why = f"{_MOST_UNWRITTEN} changes have not been written yet"
            raise Refused(why, "see why the file of answers cannot be written")

    def _temporary_index(self, name: str) -> int | None:
        names = (each.block.rule.name for each in self.temporary)
        return next((at for at, each in enumerate(names) if each == name), None)

    def _lasting_index(self, name: str) -> int:
        self._check_file()
        at = self._text.index(name)
        if at is None:
            raise Refused(f"no answer has made a rule {quoted(name)}", "see nfsnitch rules list")
        return at


def _first_line(text: str) -> str:
    return text.split("\n", 1)[0]


def _is_over(each: Temporary, now: Instant) -> bool:
    return each.until_ns is not None and each.until_ns <= now.monotonic_ns
