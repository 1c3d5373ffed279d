"""Steps in a few words, for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nfsnitch.core.text import shown
from nfsnitch.lab.scenario.expecting import packet_text
from nfsnitch.lab.scenario.model import (
    Answer,
    ClockJump,
    Command,
    Daemon,
    ExpectArrived,
    ExpectCounter,
    ExpectEnd,
    ExpectRecord,
    NewRules,
    Run,
    Send,
    Step,
)
from nfsnitch.lab.scenario.values import wanted_text

_MOST = 120


def step_text(step: Step) -> str:
    """Return what a step does or expects, in one line."""
    text = _WORDS[type(step)](step)
    return text if len(text) <= _MOST else f"{text[: _MOST - 1]}…"


def _send(step: Send) -> str:
    layers = "; ".join("/".join(name for name, _ in each.layers) or "hex" for each in step.packets)
    return f"send {layers} from {step.host}" + (f", {step.count} times" if step.count > 1 else "")


def _arrived(step: ExpectArrived) -> str:
    deed = "sent by" if step.sent else "arrived at"
    return f"expect {step.count.text} {deed} {step.host}: {packet_text(step.packet)}"


_WORDS: dict[type[Step], Callable[[Any], str]] = {
    Run: lambda step: f"run {shown(' '.join((step.program, *step.args)))}",
    Send: _send,
    Answer: lambda step: f"answer {step.action} to a question about {wanted_text(step.question)}",
    NewRules: lambda step: "other rules" + (", to be refused" if step.is_refused else ""),
    Daemon: lambda step: f"firewall: {step.deed.value}",
    Command: lambda step: f"command {shown(' '.join(step.argv))} on {step.host}",
    ClockJump: lambda step: f"set the clock by {step.by_ns / 1e9:+g} s",
    ExpectRecord: lambda step: f"expect {step.count.text} records: {wanted_text(step.fields)}",
    ExpectArrived: _arrived,
    ExpectCounter: lambda step: f"expect counter {step.name}: {step.count.text}",
    ExpectEnd: lambda step: f"expect {step.run} to end",
}
