"""What holds at the end of every scenario, whatever it is about.

Each packet that was queued got one verdict, none left or was lost unjudged that the scenario has
not named, and nobody waits for an answer unless that was expected last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nfsnitch.core.counters import Counter
from nfsnitch.core.text import shown
from nfsnitch.lab.process import Child
from nfsnitch.lab.scenario import counting
from nfsnitch.lab.scenario.model import ExpectCounter, Scenario
from nfsnitch.lab.scenario.outcomes import UnmetError
from nfsnitch.protocol import Status

_MOST_LINES = 10
HELD = "held_flows"
"""The figure of the status by which a scenario may expect that somebody is still held."""

LOSSES: Mapping[str, str] = {
    Counter.BYPASSED: "packets left unjudged",
    Counter.CAUGHT: "packets came out of the queue unjudged",
    Counter.UNHEARD: "packets were dropped since nobody listened",
    Counter.QUEUE_DROPPED: "packets were dropped since the queue was full",
    Counter.QUEUE_USER_DROPPED: "packets were dropped since the daemon's socket was full",
    Counter.NETLINK_OVERRUNS: "the daemon's socket overflowed",
    Counter.ERRORS: "the daemon failed on packets",
    Counter.VERDICT_ERRORS: "the kernel did not take verdicts",
    Counter.RECORDS_DROPPED: "records were lost",
    Counter.CONTROL_ERRORS: "the daemon failed on requests",
}
"""Counters that stay as they are, unless a scenario lets packets by in that way."""


def broken(
    scenario: Scenario, status: Status, grown: Mapping[str, int], unrecorded: int
) -> Iterator[UnmetError]:
    """Yield what does not hold, by the daemon's word after everything has settled.

    *unrecorded* is how many packets got a verdict that no record tells of.
    """
    missing = counting.without_verdict(status.counters) - status.queue_waiting
    if missing:
        yield UnmetError(
            "exactly one verdict for each packet that was queued",
            f"{abs(missing)} packets have {'none' if missing > 0 else 'more than one'}",
        )
    if unrecorded > 0:
        yield UnmetError(
            "a record of each verdict",
            f"of {unrecorded} packets no record tells, and they are not counted as repeated",
        )
    yield from lost(scenario, grown)
    if status.held_flows and not _may_be_held(scenario):
        yield UnmetError(
            "nobody held at the end (or, as the last word on it: "
            f"expect: {{counter: {HELD}, count: {status.held_flows}}})",
            f"{status.held_flows} held, {status.questions} questions",
        )


def ended(child: Child) -> UnmetError:
    """Return what is told of a daemon that is gone, and nobody has ended it."""
    said = [shown(line) for line in child.stderr.text().splitlines()[-_MOST_LINES:]]
    seen = [f"it ended with status {child.wait(0)}; it said last", *said]
    return UnmetError("the firewall to run", "\n".join(seen))


def lost(scenario: Scenario, grown: Mapping[str, int]) -> Iterator[UnmetError]:
    """Yield which counters have grown that the scenario has not named."""
    for name, words in LOSSES.items():
        number = grown.get(name, 0)
        if number and name not in scenario.lets_by:
            yield UnmetError(
                f"counter {name} to stay as it was (or lets_by: [{name}])",
                f"it grew by {number}: {words}",
            )


def _may_be_held(scenario: Scenario) -> bool:
    last = None
    for step in scenario.steps:
        if isinstance(step, ExpectCounter) and step.name == HELD:
            last = step
    return last is not None and last.count.most >= 1
