"""How a list is, for people."""

from __future__ import annotations

from typing import NamedTuple

from nfsnitch.adapters.lists.messages import Progress
from nfsnitch.adapters.lists.source import Source
from nfsnitch.core.listing import NamedList


class ListStatus(NamedTuple):
    """How one list is."""

    name: str
    where: str
    format: str
    """As it was found to be; before that, as the rule file says."""
    names: int | None
    """None, like the next: there is none."""
    networks: int | None
    age_s: float | None
    """Since its text was read that is in use."""
    checked_s: float | None
    """Since it was last known to be up to date."""
    due_s: float | None
    """Until it is looked at again; None: it cannot change (``sha256:``)."""
    problem: str | None
    """Why it could not be brought up to date the last time; fit to be shown."""
    errors: int
    """Lines that could not be read."""
    unsupported: int
    """Filters that a firewall cannot tell."""
    waits: bool
    """Somebody wants it brought up to date, and something else is worked on."""
    progress: Progress | None
    """How far the work on it is; None: nobody works on it."""


def status_of(source: Source, named: NamedList, now_s: float, now_ns: int) -> ListStatus:
    """Return how *named* is, which is of *source*, by the loop's and the wall clock."""
    definition, content = named.definition, source.content
    about = None if content is None else content.description
    report = None if about is None else about.report
    return ListStatus(
        definition.name,
        definition.where,
        (report.format if report else definition.format).value,
        None if report is None else report.domains,
        None if report is None else report.networks,
        None if about is None else max(0.0, (now_ns - about.read_ns) / 1e9),
        None if source.checked_ns is None else max(0.0, (now_ns - source.checked_ns) / 1e9),
        None if source.is_settled else max(0.0, source.due_s - now_s),
        source.problem,
        0 if report is None else report.errors,
        0 if report is None else report.unsupported.total(),
        source.is_wanted and source.progress is None,
        source.progress,
    )
