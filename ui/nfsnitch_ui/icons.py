"""The program's own icon and its states, and the icons of other programs."""

from __future__ import annotations

import zlib
from functools import lru_cache
from pathlib import Path

from PyQt6.QtCore import QRectF, QSize, Qt
from PyQt6.QtGui import QColor, QFont, QIcon, QImageReader, QPainter, QPen, QPixmap
from PyQt6.QtSvg import QSvgRenderer

_PICTURE = Path(__file__).with_name("pictures") / "nfsnitch.svg"
_SIZES = (16, 22, 24, 32, 48, 64)
_MOST_ICON_BYTES = 2_000_000
_MOST_COUNT = 9
_SMALLEST = 22
"""Pixels of an icon in which only one character can be read."""
_HUES = 360


@lru_cache(maxsize=1)
def own_icon() -> QIcon:
    """Return the program's icon."""
    return _icon(faded=False, badge="", badge_color="")


@lru_cache(maxsize=64)
def tray_icon(state: str, count: int) -> QIcon:
    """Return the icon for a state: ``ask``, ``allow-silently``, ``deny-silently`` or ``none``."""
    if state == "none":
        return _icon(faded=True, badge="\N{MULTIPLICATION SIGN}", badge_color="#7b8494")
    if count:
        number = str(count) if count <= _MOST_COUNT else f"{_MOST_COUNT}+"
        return _icon(faded=False, badge=number, badge_color="#d23b2f")
    if state == "allow-silently":
        return _icon(faded=False, badge="✓", badge_color="#17794a")
    if state == "deny-silently":
        return _icon(faded=False, badge="\N{EN DASH}", badge_color="#96590a")
    return own_icon()


@lru_cache(maxsize=256)
def letter_icon(name: str) -> QIcon:
    """Return an icon for a program that has none: its first letter, in a colour of its own."""
    icon = QIcon()
    for size in (32, 48, 64, 96, 128):
        pixmap = _letter(name, size)
        for mode in (QIcon.Mode.Normal, QIcon.Mode.Selected):  # else Qt tints it in a list
            icon.addPixmap(pixmap, mode)
    return icon


@lru_cache(maxsize=256)
def program_icon(icon: str, name: str) -> QIcon:
    """Return what a desktop entry has for an icon, else a letter. It may read files: not in haste.

    *icon* names an icon of the theme, or is the absolute path of a picture; that of a file which
    is no ordinary one, or a huge one, is not looked at.
    """
    if icon.startswith("/"):
        found = _picture(Path(icon))
    else:
        found = QIcon.fromTheme(icon) if "/" not in icon else QIcon()
    return letter_icon(name) if found.isNull() else found


def _picture(path: Path) -> QIcon:
    try:
        is_fit = path.is_file() and path.stat().st_size <= _MOST_ICON_BYTES
    except OSError:
        is_fit = False
    if not is_fit:
        return QIcon()
    reader = QImageReader(str(path))
    reader.setScaledSize(QSize(128, 128))
    image = reader.read()
    return QIcon() if image.isNull() else QIcon(QPixmap.fromImage(image))


def _icon(*, faded: bool, badge: str, badge_color: str) -> QIcon:
    renderer = QSvgRenderer(str(_PICTURE))
    icon = QIcon()
    for size in _SIZES:
        pixmap = _clear(size)
        painter = QPainter(pixmap)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setOpacity(0.45 if faded else 1.0)
        renderer.render(painter, QRectF(0, 0, size, size))
        painter.setOpacity(1.0)
        if badge:
            _paint_badge(painter, size, badge, badge_color)
        painter.end()
        icon.addPixmap(pixmap)
    return icon


def _paint_badge(painter: QPainter, size: int, badge: str, color: str) -> None:
    width = size * 0.62
    circle = QRectF(size - width, size - width, width, width)
    painter.setPen(QPen(QColor("white"), max(1.0, size / 24)))
    painter.setBrush(QColor(color))
    painter.drawEllipse(circle.adjusted(0.5, 0.5, -0.5, -0.5))
    font = QFont()
    font.setBold(True)
    font.setPixelSize(max(6, round(width * (0.72 if len(badge) == 1 else 0.55))))
    painter.setFont(font)
    painter.setPen(QColor("white"))
    is_legible = len(badge) == 1 or size > _SMALLEST
    painter.drawText(circle, Qt.AlignmentFlag.AlignCenter, badge if is_legible else "!")


def _letter(name: str, size: int) -> QPixmap:
    letter = next((each for each in name if each.isalnum()), "?").upper()
    hue = zlib.crc32(name.encode("utf-8", "replace")) % _HUES
    pixmap = _clear(size)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor.fromHsv(hue, 110, 165))
    painter.drawRoundedRect(QRectF(0, 0, size, size), size * 0.22, size * 0.22)
    font = QFont()
    font.setBold(True)
    font.setPixelSize(round(size * 0.56))
    painter.setFont(font)
    painter.setPen(QColor("white"))
    painter.drawText(QRectF(0, 0, size, size), Qt.AlignmentFlag.AlignCenter, letter)
    painter.end()
    return pixmap


def _clear(size: int) -> QPixmap:
    pixmap = QPixmap(size, size)
    pixmap.fill(Qt.GlobalColor.transparent)
    return pixmap
