"""``nfsnitch lists check``: what is on a list, and what cannot be read."""

from __future__ import annotations

import argparse
import json
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from nfsnitch.adapters.lists.helper_process import messages, started
from nfsnitch.adapters.lists.messages import Done, Failed, Job, Progress
from nfsnitch.commands.asking import INTERRUPTED, say, write_line
from nfsnitch.commands.list_words import counted
from nfsnitch.commands.progress_bar import ProgressBar
from nfsnitch.core.text import shown
from nfsnitch.lists.report import Report


def check_list(options: argparse.Namespace) -> int:
    """Read a list and say what is on it; return the exit status."""
    place = shown(os.fspath(options.file))
    try:
        said = _said(options.file, options.format, place)
    except OSError as error:
        say(f"{place}: {error.strerror or error}")
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    if isinstance(said, Failed) or said.report is None:
        why = said.why if isinstance(said, Failed) else "nothing was read"
        say(f"{place}: it would not be taken: {why}")
        return 1
    if options.json:
        write_line(json.dumps(said.report.as_json(), indent=2))
    else:
        for line in report_lines(place, said.report):
            write_line(line)
    return 0


def _said(path: Path, wanted: str, place: str) -> Done | Failed:
    bar = ProgressBar(sys.stderr)
    with _opened(path) as text, tempfile.TemporaryFile() as out:
        job = Job(text.fileno(), out.fileno(), format=wanted)
        said: Done | Failed = Failed("nothing was said")
        try:
            for message in messages(started(job)):
                if isinstance(message, Progress):
                    bar.show(place, message.phase, message.done, message.total)
                else:
                    said = message
        finally:
            bar.clear()
    return said


def _opened(path: Path) -> BinaryIO:
    # O_NONBLOCK: a pipe is refused, not waited for.
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError("it is no regular file")
    return file


def report_lines(place: str, report: Report) -> Iterator[str]:
    """Yield what is on a list as people read it."""
    names, networks = counted(report.domains, "name"), counted(report.networks, "network")
    lines = counted(report.lines, "line")
    yield f"{place}: {names}, {networks} ({report.format}, {lines})"
    for number, words in (
        (report.duplicates, "listed more than once"),
        (report.comments, "comments, empty lines and names of this machine"),
        (report.exceptions, f"exceptions, which take back {counted(report.excepted, 'name')}"),
    ):
        if number:
            yield f"  {number:>9,}  {words}"
    for kind, number in report.unsupported.most_common():
        yield f"  {number:>9,}  left out: {kind}"
    if report.errors:
        yield f"  {report.errors:>9,}  could not be read:"
    for line, text, why in report.first_errors:
        yield f"             line {line}: {text or '…'}: {why}"
    if report.errors > len(report.first_errors):
        yield f"             and {report.errors - len(report.first_errors):,} more"
