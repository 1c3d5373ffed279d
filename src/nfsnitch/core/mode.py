"""Asking people, or deciding in silence."""

from __future__ import annotations

from nfsnitch.core.decision import Action, Reason
from nfsnitch.core.ruleset import Ruling
from nfsnitch.protocol.words import Mode

_SILENT: dict[Mode, Action] = {
    Mode.ALLOW_SILENTLY: Action.ALLOW,
    Mode.DENY_SILENTLY: Action.DENY,
}


class ModeState:
    """The mode, and until when it holds."""

    def __init__(self) -> None:
        """Begin with `Mode.ASK`."""
        self.mode = Mode.ASK
        self.until_ns: int | None = None
        """Then it is `Mode.ASK` again (monotonic); None: until somebody sets it."""

    def set(self, mode: Mode, until_ns: int | None) -> None:
        """Take over a mode."""
        self.mode = mode
        self.until_ns = None if mode is Mode.ASK else until_ns

    def is_over(self, now_ns: int) -> bool:
        """Whether the mode should be `Mode.ASK` again by now (monotonic)."""
        return self.until_ns is not None and self.until_ns <= now_ns

    def ruling(self, ruling: Ruling) -> Ruling:
        """Return what becomes of a flow that by *ruling* has to be asked about."""
        if self.mode is Mode.ASK:
            return ruling
        return Ruling(_SILENT[self.mode], Reason.SILENT, ruling.rule)
