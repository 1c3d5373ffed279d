"""Reading large rule files in a process of its own, which leaves nothing of it in this one.

Reading 100,000 rules takes seconds of a processor and hundreds of MB of memory. In a thread, the
interpreter would be taken from the packets for that; and memory that was taken once is given back
in part at best. What comes back is where in the files each rule begins (`written_rules`), and the
index of the rules; the files' contents are here already.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import nfsnitch
from nfsnitch.adapters.rulefile.drafts import Field
from nfsnitch.adapters.rulefile.files import Raw
from nfsnitch.adapters.rulefile.handing_over import HandingError, Kind, Receiver
from nfsnitch.adapters.rulefile.loading import ReadingError
from nfsnitch.adapters.rulefile.names import Names
from nfsnitch.adapters.rulefile.problems import Problem, RuleFileError
from nfsnitch.adapters.rulefile.written_rules import Places, WrittenRules, drafts_of, without_mark
from nfsnitch.core.decision import Action
from nfsnitch.core.index_parts import Assembling
from nfsnitch.core.rule import Rule
from nfsnitch.core.rule_index import RuleIndex
from nfsnitch.core.ruleset import FEWEST_RULES, Layer, Ruleset, Traits

_MODULE = "nfsnitch.adapters.rulefile.reading_helper"
_PIPE_BYTES = 1 << 20
"""What it tells is read in so large pieces: each takes the interpreter back from the packets."""
_PASSED_ON = ("PATH", "LANG", "TZ")


class Job(NamedTuple):
    """What the process is to do."""

    files: tuple[tuple[int, str, int], ...]
    """Order, path and length of each; their contents follow."""
    problems: tuple[Problem, ...]
    """That were found on the way to them."""
    host_netns: int | None
    """Inode number of the network namespace of the first process."""


class Rest(NamedTuple):
    """What the daemon needs to make a ruleset, beside single rules and the index."""

    places: Places
    traits: Traits
    dependent: Mapping[str, Field]
    on_unknown_name: Action | None


def read_apart(
    files: Sequence[Raw],
    problems: Sequence[Problem],
    names: Names,
    warned: Callable[[str], None],
) -> Ruleset:
    """Return the rules in *files*; *warned* is called with each warning. It waits.

    Raises:
        RuleFileError: something is wrong with them; the message says what, a line for each thing.
        ReadingError: the process was ended, or could not be started.

    """
    listed = tuple((each.order, os.fspath(each.path), len(each.content)) for each in files)
    job = Job(listed, tuple(problems), names.netns_of("host"))
    try:
        process = subprocess.Popen(
            # -P: nothing in the working directory is run
            [sys.executable, "-P", "-m", _MODULE],
            bufsize=_PIPE_BYTES,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the daemon
            cwd="/",
            env=_environment(),
        )
    except OSError as error:
        raise ReadingError(f"no process to read them could be started: {error}") from error
    with process:
        try:
            return _talked(process, job, files, warned)
        except (HandingError, pickle.UnpicklingError, ValueError, EOFError) as error:
            process.kill()
            status = process.wait()
            why = f"the process that reads them failed (status {status}): {error}"
            raise ReadingError(why) from error
        except BaseException:
            process.kill()
            raise


def _talked(
    process: subprocess.Popen[bytes],
    job: Job,
    files: Sequence[Raw],
    warned: Callable[[str], None],
) -> Ruleset:
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("both are pipes")
    with suppress(OSError):  # as large as it may be
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    with suppress(BrokenPipeError):  # it says on the other pipe, or by its end, what was wrong
        process.stdin.write(pickle.dumps(job))
        for file in files:
            process.stdin.write(file.content)
        process.stdin.close()
    return received(Receiver(process.stdout), files, warned)


def received(receiver: Receiver, files: Sequence[Raw], warned: Callable[[str], None]) -> Ruleset:
    """Return the rules in *files* of which a process tells.

    Raises:
        RuleFileError: something is wrong with them.
        HandingError: what comes makes no sense.

    """
    attributes: dict[str, Any] = {}
    others: dict[int, Rule] = {}
    rest: Rest | None = None
    indexes = {Kind.FLOWS: Assembling(), Kind.QUESTIONS: Assembling()}
    for kind, content in receiver.pieces():
        if kind is Kind.WARNING:
            warned(content)
        elif kind is Kind.PROBLEM:
            raise RuleFileError([], str(content))
        elif kind is Kind.ATTRIBUTES:
            attributes = content
            receiver.lists.update((each.definition.name, each) for each in content["lists"])
        elif kind is Kind.RULES:
            others.update(content)
        elif kind is Kind.REST:
            rest = content
        elif kind in indexes:
            indexes[kind].add(content)
    if rest is None:
        raise HandingError("it told of no rules")
    contents = {file.order: without_mark(file.content) for file in files}
    drafts = drafts_of(rest.dependent)
    rules = WrittenRules(rest.places, contents, others, drafts, rest.on_unknown_name)
    if len(rules) < FEWEST_RULES:
        return Ruleset(tuple(rules), **attributes)
    roots = (indexes[Kind.FLOWS].root, indexes[Kind.QUESTIONS].root)
    of_flows, of_questions = (
        None if root is None else RuleIndex.of_root(rules, root) for root in roots
    )
    of_programs = None if rest.traits.tells_flows_apart else of_flows
    layer = Layer(rules, rest.traits, of_flows, of_questions, of_programs)
    return Ruleset(rules, **attributes, of_rules=layer)


def _environment() -> dict[str, str]:
    chosen = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**chosen, "PYTHONPATH": str(Path(nfsnitch.__file__).absolute().parents[1])}
