"""What the daemon says about itself when it is asked."""

from __future__ import annotations

import collections
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from nfsnitch import __version__
from nfsnitch.adapters.enforcement import Enforcement
from nfsnitch.asking.people import People
from nfsnitch.core.counters import Counter
from nfsnitch.core.engine import Engine
from nfsnitch.ground import Ground
from nfsnitch.options import RunOptions
from nfsnitch.protocol import Status

_STATM = Path("/proc/self/statm")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Parts(NamedTuple):
    """Where the answers come from."""

    options: RunOptions
    ground: Ground
    started_s: float
    """Monotonic."""
    engine: Engine
    enforcement: Enforcement
    counters: collections.Counter[Counter]
    people: People
    known_names: Callable[[], int]


def status(parts: Parts, watchers: int) -> Status:
    """Return how the daemon is at this moment; its counters must have been collected."""
    ruleset = parts.engine.ruleset
    book = parts.people.book
    mode, mode_left_s = parts.people.mode
    return Status(
        version=__version__,
        pid=os.getpid(),
        uptime_s=round(time.monotonic() - parts.started_s, 3),
        netns=parts.ground.namespace,
        queue_num=parts.options.queue_num,
        queueing=parts.enforcement.queueing.value,
        queue_waiting=parts.ground.queue.kernel_counters().waiting,
        queue_length=ruleset.settings.queue_length,
        attach=parts.ground.kept.programs.mode.value,
        attach_why=parts.ground.kept.programs.why,
        cache_problem=_cache_problem(parts),
        rule_files=tuple(map(os.fspath, parts.options.rules)),
        rules=len(ruleset.rules),
        generation=parts.engine.generation,
        default=ruleset.default.value,
        unattributed=ruleset.unattributed.value,
        unanswered=ruleset.unanswered.value,
        fail=ruleset.settings.fail.value,
        held_flows=parts.engine.held_flows,
        held_limit=ruleset.settings.limits.held_flows,
        questions=len(parts.engine.questions),
        mode=mode.value,
        mode_left_s=mode_left_s,
        answers_file=book.file_name,
        answers_problem=book.problem,
        lasting_answers=len(book.lasting.blocks),
        temporary_answers=len(book.temporary),
        memory_bytes=resident_bytes(),
        watchers=watchers,
        known_names=parts.known_names(),
        lists=len(ruleset.lists),
        lists_missing=tuple(each.definition.name for each in ruleset.lists if each.content is None),
        counters={counter.value: parts.counters[counter] for counter in Counter},
    )


def _cache_problem(parts: Parts) -> str | None:
    return parts.enforcement.cache_problem if parts.options.cache else "started with --no-cache"


def resident_bytes() -> int:
    """Return how much memory this process has (``proc_pid_statm(5)``)."""
    return int(_STATM.read_text("ascii").split()[1]) * _PAGE_BYTES
