"""``nfsnitch status``: how the daemon is."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path

from nfsnitch.commands.asking import (
    INTERRUPTED,
    Daemon,
    add_daemon_options,
    daemon_of,
    say,
    write_line,
)
from nfsnitch.commands.counter_words import GROUPS, OTHERS
from nfsnitch.control_client import Client, ControlError, NotRunningError
from nfsnitch.core.text import counted, shown
from nfsnitch.prompt.words import MODES
from nfsnitch.protocol import RUN_DIRECTORY, Mode, Status, StatusRequest

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_LEFT_IN_FORCE = (
    "WARNING: the ruleset is in force all the same, as after a crash: what the daemon would judge "
    "is dropped (or passes unjudged, with fail: open). Start the daemon, or take the ruleset away: "
    "nft delete table inet nfsnitch"
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what the command line understands."""
    parser.description = (
        "Say how the daemon is (root, and members of its group). Exit status 3 if none runs."
    )
    add_daemon_options(parser)
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    parser.add_argument("--all", action="store_true", help="show counters that are 0, too")
    parser.set_defaults(command=status)


def status(options: argparse.Namespace) -> int:
    """Ask the daemon and print the answer; return the exit status."""
    daemon = daemon_of(options)
    try:
        with Client(daemon.path) as client:
            answer = client.ask(StatusRequest(), Status)
    except NotRunningError as error:
        _tell_absence(daemon, error, as_json=options.json)
        return error.exit_status
    except ControlError as error:
        say(str(error))
        return error.exit_status
    except KeyboardInterrupt:
        return INTERRUPTED
    if options.json:
        write_line(json.dumps({"running": True, **dataclasses.asdict(answer)}, indent=2))
    else:
        write_line("\n".join(status_lines(answer, with_zeros=options.all)))
    return 0


def _tell_absence(daemon: Daemon, error: NotRunningError, *, as_json: bool) -> None:
    left = _is_ruleset_left(daemon)
    if as_json:
        content = {"running": False, "netns": daemon.netns, "ruleset_in_force": left}
        write_line(json.dumps(content, indent=2))
    say(str(error))
    if left:
        say(_LEFT_IN_FORCE)
    others = _other_daemons(daemon)
    if others:
        say(f"there may be one in another network namespace: --netns {' or '.join(others)}")


def _is_ruleset_left(daemon: Daemon) -> bool | None:
    """Whether our table is there without a daemon; None if that cannot be seen."""
    if not daemon.is_here or os.geteuid() != 0:
        return None
    try:
        from nfsnitch.adapters.nft import NftRuleset  # noqa: PLC0415  it loads libnftables
    except ImportError:
        return None
    return NftRuleset().is_installed()


def _other_daemons(daemon: Daemon) -> list[str]:
    if not daemon.is_here:
        return []
    sockets = sorted(Path(RUN_DIRECTORY).glob("netns-*.sock"))
    return [shown(path.stem.removeprefix("netns-")) for path in sockets if path != daemon.path][:5]


def status_lines(answer: Status, *, with_zeros: bool) -> Iterator[str]:
    """Yield the answer as people read it; counters that are 0 only if *with_zeros*."""
    enforces = f"enforces in net:[{answer.netns}]"
    since = f"process {answer.pid}, up {duration(answer.uptime_s)}"
    yield f"nfsnitch {shown(answer.version)} {enforces}, {since}"
    for name, value in _table(answer).items():
        yield f"  {name:<9} {value}"
    counted = _counted(answer.counters, with_zeros=with_zeros)
    width = max((len(str(number)) for rows in counted.values() for number, _, _ in rows), default=0)
    for heading, rows in counted.items():
        yield ""
        yield heading
        for number, counter, words in rows:
            yield f"  {number:>{width}}  {counter:<22} {words}".rstrip()
    if not counted:
        yield ""
        yield "nothing has been counted yet"


def _table(answer: Status) -> dict[str, str]:
    files = ", ".join(map(shown, answer.rule_files))
    otherwise = ", ".join(
        f"{name} {shown(value)}"
        for name, value in (
            ("default", answer.default),
            ("unattributed", answer.unattributed),
            ("unanswered", answer.unanswered),
            ("fail", answer.fail),
        )
    )
    return {
        "rules": f"{answer.rules} from {files}; generation {answer.generation}",
        "otherwise": otherwise,
        "attach": f"{shown(answer.attach)}: {shown(answer.attach_why)}",
        "queue": f"{answer.queue_num} by {shown(answer.queueing)}; "
        f"{answer.queue_waiting} of {answer.queue_length} packets wait",
        "cache": "decisions are repeated in the kernel"
        if answer.cache_problem is None
        else f"each new flow is queued: {shown(answer.cache_problem)}",
        "held": f"{answer.held_flows} of {answer.held_limit} flows",
        "mode": mode_words(answer.mode, answer.mode_left_s),
        "asked": f"{counted(answer.questions, 'question')} (nfsnitch prompt)",
        "answers": _answers(answer),
        "names": f"{counted(answer.known_names, 'name')} of addresses known (nfsnitch names)",
        "lists": _lists(answer),
        "memory": f"{answer.memory_bytes / 1e6:.1f} MB",
        "watchers": str(answer.watchers),
    }


def _answers(answer: Status) -> str:
    lasting, temporary = answer.lasting_answers, answer.temporary_answers
    where = f" in {shown(answer.answers_file)}" if answer.answers_file is not None else ""
    text = f"{lasting} lasting{where}, {temporary} temporary"
    if answer.answers_file is None:
        text += "; kept nowhere: none outlives the daemon"
    if answer.answers_problem is not None:
        text += f"; PROBLEM: {shown(answer.answers_problem)}"
    return text


def _lists(answer: Status) -> str:
    text = f"{counted(answer.lists, 'list')} of names and networks (nfsnitch lists)"
    if answer.lists_missing:
        missing = ", ".join(map(shown, answer.lists_missing))
        text += f"; nothing is known yet of what is in {missing}"
    return text


_Row = tuple[int, str, str]


def _counted(counters: dict[str, int], *, with_zeros: bool) -> dict[str, list[_Row]]:
    """Return heading → number, counter and explanation, without what is empty."""
    left = dict(counters)
    groups: dict[str, list[_Row]] = {}
    for heading, words in GROUPS.items():
        rows = [(left.pop(name, 0), name.value, text) for name, text in words.items()]
        groups[heading] = rows
    groups[OTHERS] = [(number, shown(name), "") for name, number in left.items()]
    shown_groups = {
        heading: [row for row in rows if row[0] or with_zeros] for heading, rows in groups.items()
    }
    return {heading: rows for heading, rows in shown_groups.items() if rows}


def mode_words(name: str, left_s: float | None) -> str:
    """Return what a mode means, and how long it holds."""
    meaning = MODES.get(Mode(name)) if name in set(Mode) else None
    text = shown(name) + (f": {meaning}" if meaning else "")
    return text if left_s is None else f"{text}; {duration(left_s)} left, then it asks again"


def duration(seconds: float) -> str:
    """Return a length of time in its two largest units, as in ``2 h 5 min``."""
    left = int(seconds)
    parts: list[str] = []
    for unit, length in _UNITS:
        number, left = divmod(left, length)
        if number or parts or unit == "s":
            parts.append(f"{number} {unit}")
    return " ".join(part for part in parts[:2] if not part.startswith("0 ") or len(parts) == 1)
