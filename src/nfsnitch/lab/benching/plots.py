"""Bars, drawn as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_ROW, _GAP, _LEFT, _WIDTH, _RIGHT, _TOP = 13, 9, 230, 420, 80, 58
_COLOURS = ("#3b7dd8", "#e08a2e", "#4f9d69", "#a05195")
_FONT = 'font-family="sans-serif" font-size="12"'


@dataclass(frozen=True, slots=True)
class Group:
    """Bars that belong together: one for each series, None where there is none."""

    label: str
    values: Sequence[float | None]


def bar_chart(title: str, series: Sequence[str], groups: Sequence[Group]) -> str:
    """Return a chart of horizontal bars, the length of which is logarithmic."""
    most = max((value for group in groups for value in group.values if value), default=1.0)
    least = min((v for group in groups for v in group.values if v and v > 0), default=1.0)
    low = math.floor(math.log10(least) - 0.001)
    span = max(1.0, math.log10(max(most, least)) - low)
    height = _TOP + sum(len(group.values) * _ROW + _GAP for group in groups)
    parts = [_text(8, 20, title, "start", bold=True), *_legend(series)]
    y = _TOP
    for group in groups:
        middle = y + len(group.values) * _ROW / 2 + 4
        parts.append(_text(_LEFT - 8, middle, group.label, "end"))
        for colour, value in zip(_COLOURS, group.values, strict=False):
            parts += _bar(y, value, colour, low, span)
            y += _ROW
        y += _GAP
    width = _LEFT + _WIDTH + _RIGHT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">\n<rect width="{width}" height="{height}" '
        f'fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _bar(y: float, value: float | None, colour: str, low: float, span: float) -> list[str]:
    if value is None:
        return []
    share = (math.log10(value) - low) / span if value > 0 else 0.0
    length = max(1.0, share * _WIDTH)
    figure = f"{value:,.3g}" if abs(value) < 1 else f"{value:,.0f}"
    return [
        f'<rect x="{_LEFT}" y="{y}" width="{length:.1f}" height="{_ROW - 2}" fill="{colour}"/>',
        _text(_LEFT + length + 5, y + _ROW - 3, figure),
    ]


def _legend(series: Sequence[str]) -> list[str]:
    parts = []
    for number, (colour, name) in enumerate(zip(_COLOURS, series, strict=False)):
        x = _LEFT + number * 130
        parts.append(f'<rect x="{x}" y="34" width="10" height="10" fill="{colour}"/>')
        parts.append(_text(x + 15, 43, name))
    return parts


def _text(x: float, y: float, text: str, anchor: str = "start", *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {_FONT}{weight}>'
        f"{escape(text)}</text>"
    )
