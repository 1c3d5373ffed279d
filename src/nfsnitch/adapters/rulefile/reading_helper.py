"""``python -m nfsnitch.adapters.rulefile.reading_helper``: reads large rule files for the daemon.

The daemon starts it for one reading and gives it what is in the files: it needs no right to open
them, and the memory that reading takes ends with it.
"""

from __future__ import annotations

import gc
import os
import pickle
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from nfsnitch.adapters import privileges
from nfsnitch.adapters.rulefile.drafts import Field
from nfsnitch.adapters.rulefile.files import Raw, sources_of
from nfsnitch.adapters.rulefile.handing_over import Kind, Sender
from nfsnitch.adapters.rulefile.loader import Collected, collect
from nfsnitch.adapters.rulefile.names import Names, system_names
from nfsnitch.adapters.rulefile.problems import Problems, RuleFileError
from nfsnitch.adapters.rulefile.reading_process import Job, Rest
from nfsnitch.adapters.rulefile.written_rules import Writing, WrittenRules, without_mark
from nfsnitch.core.index_parts import many_in_leaves, parts_of
from nfsnitch.core.rule_index import Node
from nfsnitch.core.rule_keys import OF_ONE_FLOW, OF_THE_FLOW
from nfsnitch.core.ruleset import traits_of

_IN_ONE_PIECE = 50
"""Rules."""
_MANY = 64
"""Rules that are tried in one decision are kept as they were read."""


def main() -> int:
    """Read what the daemon gives; return the exit status."""
    gc.disable()
    with suppress(OSError, privileges.PrivilegesError):
        privileges.keep_only(set())
    with suppress(OSError):  # it inherits the daemon's, which should be the last to be ended
        Path("/proc/self/oom_score_adj").write_text("0", "ascii")
    job, files = _given(sys.stdin.buffer)
    sender = Sender(sys.stdout.buffer)
    try:
        read(job, files, sender)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os._exit(1)  # the daemon waits no more
    sys.stdout.buffer.flush()
    os._exit(0)  # without freeing one by one what ends with the process


def read(job: Job, files: Sequence[Raw], sender: Sender) -> None:
    """Send what comes of reading *files*."""
    problems = Problems()
    for problem in job.problems:
        problems.add(*problem)
    try:
        found = collect(sources_of(files, problems), _names(job), problems, Writing)
    except RuleFileError as error:
        sender.text(Kind.PROBLEM, str(error))
        return
    for warning in found.warnings:
        sender.text(Kind.WARNING, str(warning))
    sender.thing(Kind.ATTRIBUTES, found.attributes)
    _send_rules(found, files, sender)
    sender.text(Kind.END, "")


def _send_rules(found: Collected[Writing], files: Sequence[Raw], sender: Sender) -> None:
    writing = found.sink
    traits = traits_of(writing.others.values(), writing.tables.conditions.values())
    filing = writing.filing
    # Of the simplest values there are keys alone, and no conditions.
    traits = traits._replace(tells_flows_apart=filing.tells_apart_by(OF_ONE_FLOW))
    root = filing.root()
    roots: list[tuple[Kind, Node]] = [(Kind.FLOWS, root)]
    if traits.refuses_questions:
        roots.append((Kind.QUESTIONS, filing.root(OF_THE_FLOW)))
    contents = {file.order: without_mark(file.content) for file in files}
    rules = WrittenRules(
        writing.places, contents, writing.others, found.drafts, writing.on_unknown_name
    )
    others = dict(writing.others)
    for _, each in roots:
        others.update((number, rules[number]) for number in many_in_leaves(each, _MANY))
    dependent = {
        text: field
        for text, field in found.drafts.known.items()
        if isinstance(field, Field) and field.is_made and found.dependent(field.condition)
    }
    for field in dependent.values():
        sender.condition(field.condition)
    numbered = iter(others.items())
    while some := list(islice(numbered, _IN_ONE_PIECE)):
        for _, rule in some:
            for condition in rule.conditions:
                sender.condition(condition)
        sender.thing(Kind.RULES, some)
    sender.thing(Kind.REST, Rest(writing.places, traits, dependent, writing.on_unknown_name))
    for kind, each in roots:
        for part in parts_of(each):
            sender.part(kind, part)


def _names(job: Job) -> Names:
    here = system_names()

    def netns_of(name: str) -> int | None:
        # Looking at the first process's takes a right that this one has not.
        return job.host_netns if name == "host" else here.netns_of(name)

    return replace(here, netns_of=netns_of)


def _given(source: BinaryIO) -> tuple[Job, list[Raw]]:
    job: Job = pickle.load(source)  # noqa: S301  from the daemon that has started this
    files = [Raw(order, Path(path), source.read(length)) for order, path, length in job.files]
    return job, files


if __name__ == "__main__":
    sys.exit(main())
