"""What somebody has answered."""

from __future__ import annotations

from typing import NamedTuple

from nfsnitch.core.decision import Action


class Answer(NamedTuple):
    """An answer to a question, for the flows that wait for it."""

    action: Action | None
    """Anything but `Action.ASK`; None: dismissed, they get the `unanswered` action now."""
    rule: str | None = None
    """The name of the rule that the answer has made."""
    uid: int | None = None
    """Who answered."""
