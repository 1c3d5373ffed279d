"""Expectations: waited for as long as they may still be met, and told in words when they are not.

What is expected to be there is waited for. What is expected not to be there (or not more of it) is
looked for once all that is under way has settled; nobody sleeps for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from nfsnitch.core.record import Json
from nfsnitch.core.text import counted, shown
from nfsnitch.lab.process import Finished
from nfsnitch.lab.scenario import values
from nfsnitch.lab.scenario.layers import layer_class
from nfsnitch.lab.scenario.model import (
    ExpectArrived,
    ExpectCounter,
    ExpectEnd,
    ExpectRecord,
    Range,
)
from nfsnitch.lab.scenario.outcomes import UnmetError
from nfsnitch.lab.scenario.packets import matches
from nfsnitch.lab.scenario.scene import Scene, first, in_words, seconds
from nfsnitch.lab.waiting import Deadline, TimeIsOverError

_MOST_TOLD = 8
"""So many records or packets are told where one was missed."""
_MOST_OUTPUT = 600
"""Characters of a program's output that are told."""


def expect_record(scene: Scene, wanted: ExpectRecord) -> None:
    """Raise `UnmetError` unless so many records have these values."""
    fields = {name: scene.value(value) for name, value in wanted.fields.items()}

    def number() -> int:
        return sum(not values.differing(record, fields) for record in scene.records)

    if not _comes(
        scene, number, wanted.count, wanted.within_ns, scene.stage.daemon.wait_for_record
    ):
        raise UnmetError(
            f"{in_words(wanted.count, 'record')} with {values.wanted_text(fields)}",
            records_told(scene.records, fields),
        )


def expect_arrived(scene: Scene, wanted: ExpectArrived) -> None:
    """Raise `UnmetError` unless so many such packets came to a host, or left it."""
    packet = {layer: scene.value(dict(fields)) for layer, fields in wanted.packet.items()}
    captures = scene.stage.captures
    frames: list[bytes] = []
    fitting = since = 0

    def number() -> int:
        nonlocal fitting, since
        for frame in captures.frames(wanted.host, wanted.interface, since):
            since = frame.number + 1
            if frame.is_outgoing == wanted.sent:
                frames.append(frame.data)
                fitting += matches(frame.data, packet)
        return fitting

    if not _comes(scene, number, wanted.count, wanted.within_ns, scene.stage.wait_for_frame):
        deed = "sent by" if wanted.sent else "arrived at"
        raise UnmetError(
            f"{in_words(wanted.count, 'packet')} {deed} {wanted.host}: {packet_text(packet)}",
            packets_told(fitting, frames),
        )


def expect_counter(scene: Scene, wanted: ExpectCounter) -> None:
    """Raise `UnmetError` unless a counter has grown by so much."""

    def number() -> int:
        return scene.stage.daemon.figure(wanted.name)

    if not _comes(scene, number, wanted.count, wanted.within_ns, scene.stage.daemon.wait_a_moment):
        grown = {name: n for name, n in scene.stage.daemon.grown().items() if n}
        told = ", ".join(f"{name} {n}" for name, n in sorted(grown.items())) or "nothing"
        raise UnmetError(
            f"counter {wanted.name} to grow by {wanted.count.text}",
            f"it grew by {number()}; what has grown: {told}",
        )


def expect_end(scene: Scene, wanted: ExpectEnd) -> None:
    """Raise `UnmetError` unless a program has ended like this."""
    if wanted.run not in scene.children:
        known = ", ".join(scene.children) or "none"
        raise UnmetError(
            f"{wanted.run} to end", f"no such program was started (there are: {known})"
        )
    try:
        done = scene.finish(wanted.run, seconds(wanted.within_ns))
    except TimeIsOverError:
        raise UnmetError(
            f"{wanted.run} to end within {seconds(wanted.within_ns):g} s",
            f"it still runs; {_said(scene, wanted.run)}",
        ) from None
    problems = list(_ends_otherwise(scene, done, wanted))
    if problems:
        told = f"status {done.returncode}; {_output('stdout', done.stdout)}; "
        told += _output("stderr", done.stderr)
        raise UnmetError(f"{wanted.run} to end with {' and '.join(problems)}", told)


def records_told(records: Sequence[Json], fields: Mapping[str, Any]) -> str:
    """Return what records there are instead, the most alike first, and how each differs."""
    if not records:
        return "no record at all"
    ranked = sorted(
        ((values.differing(record, fields), record) for record in records),
        key=lambda pair: len(pair[0]),
    )
    lines = [
        f"{_summary(record)}: {values.instead(record, names) if names else 'this one is like it'}"
        for names, record in ranked
    ]
    heading = f"{counted(len(records), 'record')}, the most alike first"
    return "\n".join([heading, *first(lines, _MOST_TOLD)])


def packets_told(number: int, frames: Sequence[bytes]) -> str:
    """Return which packets were seen instead."""
    ether = layer_class("Ether")
    lines = [shown(ether(each).summary()) for each in frames[:_MOST_TOLD]]
    left = len(frames) - len(lines)
    more = [f"… and {left} more"] if left else []
    return "\n".join([f"{number} such of {counted(len(frames), 'packet')}", *lines, *more])


def packet_text(packet: Mapping[str, Mapping[str, Any]]) -> str:
    """Return layers and fields in one line."""
    return " / ".join(
        f"{layer}({values.wanted_text(fields)})" if fields else layer
        for layer, fields in packet.items()
    )


def _comes(
    scene: Scene,
    number: Callable[[], int],
    count: Range,
    within_ns: int,
    wait: Callable[[float], None],
) -> bool:
    """Wait until *number* is in the range *count*, and stays so once all has settled.

    *wait* waits so many seconds at the longest for something to have happened.
    """
    deadline = Deadline(seconds(within_ns))
    while True:
        now = number()
        while now < count.least and deadline.left_s():
            scene.is_settled = False  # what was waited for comes of something that goes on
            wait(deadline.left_s())
            now = number()
        if now in count and (count.most == float("inf") or scene.is_still):
            return True
        if now > count.most:
            return False
        scene.stage.settle()
        scene.is_settled = True
        now = number()
        if now in count:
            return True
        if now > count.most or not deadline.left_s():
            return False


def _summary(record: Json) -> str:
    proto, verdict = (values.text_of(record.get(name)) for name in ("proto", "verdict"))
    daddr, dport = (values.text_of(record.get(name)) for name in ("daddr", "dport"))
    exe = values.text_of(record.get("exe"))
    return f"{verdict} {proto} to {daddr} {dport} by {exe}"


def _ends_otherwise(scene: Scene, done: Finished, wanted: ExpectEnd) -> Iterator[str]:
    if wanted.status is not None and done.returncode not in wanted.status:
        yield f"status {wanted.status.text}"
    for name, text in (("stdout", wanted.stdout), ("stderr", wanted.stderr)):
        said = done.stdout if name == "stdout" else done.stderr
        if text is not None and scene.text(text) not in said:
            yield f"'{shown(scene.text(text))}' on {name}"


def _said(scene: Scene, name: str) -> str:
    child = scene.children[name]
    return f"{_output('stdout', child.stdout.text())}; {_output('stderr', child.stderr.text())}"


def _output(name: str, text: str) -> str:
    text = text.strip()
    if len(text) > _MOST_OUTPUT:
        text = f"…{text[-_MOST_OUTPUT:]}"
    told = " | ".join(shown(line) for line in text.splitlines())
    return f"{name}: {told}" if told else f"nothing on {name}"
