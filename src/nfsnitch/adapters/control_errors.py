"""How what the daemon does for its clients says no."""

from __future__ import annotations

from nfsnitch.protocol import Why


class RefusalError(Exception):
    """The request is not carried out; *why* for programs, the text for people."""

    def __init__(self, why: Why, text: str) -> None:
        super().__init__(text)
        self.why = why
