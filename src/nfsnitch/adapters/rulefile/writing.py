"""Rules as YAML, as a person would write them."""

from __future__ import annotations

from collections.abc import Mapping

import yaml

Value = str | int | tuple[str, ...]


def rule_text(fields: Mapping[str, Value]) -> str:
    """Return a rule with these fields, its head (name, action …) among them; a line for each.

    A character that could not be seen, or would turn what is seen around, is written as an escape.
    """
    plain: dict[str, object] = {
        name: list(each) if isinstance(each, tuple) else each for name, each in fields.items()
    }
    text = _dumped(plain, seen=True)
    is_seen = text.replace("\n", "").isprintable()
    return text if is_seen else _dumped(plain, seen=False)


def _dumped(fields: dict[str, object], *, seen: bool) -> str:
    text: str = yaml.safe_dump(
        fields, sort_keys=False, allow_unicode=seen, default_flow_style=False, width=float("inf")
    )
    return text
