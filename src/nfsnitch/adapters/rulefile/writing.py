"""Rules as YAML, as a person would write them."""

from __future__ import annotations

from collections.abc import Mapping

import yaml

Value = str | int | tuple[str, ...]


def rule_text(fields: Mapping[str, Value]) -> str:
    """Return a rule with these fields, its head (name, action …) among them; a line for each."""
    plain = {name: list(each) if isinstance(each, tuple) else each for name, each in fields.items()}
    text: str = yaml.safe_dump(
        plain, sort_keys=False, allow_unicode=True, default_flow_style=None, width=float("inf")
    )
    return text
