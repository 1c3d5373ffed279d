"""Somebody who answers, for tests."""

from __future__ import annotations

from nfsnitch.lab.answerer import Answerer

__all__ = ["Answerer"]
