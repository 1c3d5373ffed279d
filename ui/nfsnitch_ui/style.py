"""Colours and sizes, for light and for dark desktops."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PyQt6.QtCore import QObject, Qt
from PyQt6.QtGui import QColor, QFont, QFontDatabase, QPalette
from PyQt6.QtWidgets import QApplication

_HALF = 128
_PICTURES = Path(__file__).with_name("pictures")


@dataclass(frozen=True, slots=True)
class Colors:
    """The colours of one scheme."""

    window: str
    base: str
    raised: str
    text: str
    muted: str
    line: str
    accent: str
    on_accent: str
    allow: str
    deny: str
    reject: str
    warning: str
    on_warning: str
    arrow: str
    """The picture of an arrow, of those that come with the program."""


LIGHT = Colors(
    window="#f4f5f7",
    base="#ffffff",
    raised="#ffffff",
    text="#1b2130",
    muted="#667084",
    line="#d9dde4",
    accent="#2f6fed",
    on_accent="#ffffff",
    allow="#17794a",
    deny="#bf3a30",
    reject="#96590a",
    warning="#fdf0d8",
    on_warning="#7a4700",
    arrow="arrow-light.svg",
)
DARK = Colors(
    window="#1d2026",
    base="#262a32",
    raised="#2c313a",
    text="#e7eaf0",
    muted="#98a1b1",
    line="#3b414d",
    accent="#5b8ff9",
    on_accent="#0d1420",
    allow="#4cc38a",
    deny="#f2776c",
    reject="#e2a84b",
    warning="#46361a",
    on_warning="#f6cf87",
    arrow="arrow-dark.svg",
)


class Style(QObject):
    """Dresses the application, and again when the desktop goes from light to dark."""

    def __init__(self, application: QApplication, scheme: str | None = None) -> None:
        super().__init__(application)
        self._application = application
        self._scheme = scheme
        self.colors = LIGHT
        application.setStyle("Fusion")
        hints = application.styleHints()
        if hints is not None and hasattr(hints, "colorSchemeChanged"):  # since Qt 6.5
            hints.colorSchemeChanged.connect(self.apply)
        self.apply()

    def apply(self) -> None:
        """Dress the application for light or dark."""
        self.colors = DARK if self._is_dark() else LIGHT
        self._application.setPalette(_palette(self.colors))
        self._application.setStyleSheet(_sheet(self.colors))

    def _is_dark(self) -> bool:
        if self._scheme is not None:
            return self._scheme == "dark"
        hints = self._application.styleHints()
        if hints is not None and hasattr(hints, "colorScheme"):
            scheme = hints.colorScheme()
            if scheme is not Qt.ColorScheme.Unknown:
                return scheme is Qt.ColorScheme.Dark
        style = self._application.style()
        palette = QPalette() if style is None else style.standardPalette()
        return palette.color(QPalette.ColorRole.Window).lightness() < _HALF


def fixed_font() -> QFont:
    """Return the desktop's font of fixed width."""
    return QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)


def color(name: str) -> QColor:
    """Return one of the colours in use, by the name of its field."""
    application = QApplication.instance()
    style = None if application is None else application.findChild(Style)
    return QColor(getattr(LIGHT if style is None else style.colors, name))


def _palette(colors: Colors) -> QPalette:
    role, group = QPalette.ColorRole, QPalette.ColorGroup
    palette = QPalette()
    for each, value in {
        role.Window: colors.window,
        role.WindowText: colors.text,
        role.Base: colors.base,
        role.AlternateBase: colors.window,
        role.Text: colors.text,
        role.Button: colors.raised,
        role.ButtonText: colors.text,
        role.BrightText: colors.deny,
        role.ToolTipBase: colors.raised,
        role.ToolTipText: colors.text,
        role.PlaceholderText: colors.muted,
        role.Highlight: colors.accent,
        role.HighlightedText: colors.on_accent,
        role.Link: colors.accent,
        role.Light: colors.raised,
        role.Midlight: colors.line,
        role.Mid: colors.line,
        role.Dark: colors.line,
        role.Shadow: colors.line,
    }.items():
        palette.setColor(each, QColor(value))
    for each in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(group.Disabled, each, QColor(colors.muted))
    return palette


def _sheet(colors: Colors) -> str:
    buttons = "".join(
        _button(kind, getattr(colors, kind), colors) for kind in ("allow", "deny", "reject")
    )
    arrow = (_PICTURES / colors.arrow).as_posix()
    return f"""
    QToolTip {{ color: {colors.text}; background: {colors.raised}; border: 1px solid {colors.line};
        padding: 4px; }}
    *[look="headline"] {{ font-size: 15pt; font-weight: 600; }}
    *[look="strong"] {{ font-weight: 600; }}
    *[look="place"] {{ font-size: 12pt; font-weight: 600; }}
    *[look="muted"] {{ color: {colors.muted}; }}
    *[look="loud"] {{ color: {colors.deny}; font-weight: 600; }}
    *[look="warning"] {{ background: {colors.warning}; color: {colors.on_warning};
        border-radius: 6px; padding: 8px 10px; }}
    QFrame[look="card"] {{ background: {colors.base}; border: 1px solid {colors.line};
        border-radius: 8px; }}
    QFrame[look="card"] QScrollArea, QFrame[look="card"] QScrollArea > QWidget > QWidget {{
        background: transparent; border: none; }}
    QPushButton[kind] {{ border-radius: 6px; padding: 7px 18px; font-weight: 600;
        background: {colors.raised}; border: 1px solid {colors.line}; }}
    QPushButton[kind="plain"] {{ font-weight: 400; color: {colors.text}; padding: 7px 14px; }}
    QPushButton[kind="plain"]:hover {{ border-color: {colors.muted}; }}
    QPushButton[kind="plain"]:checked {{ background: {colors.accent}; color: {colors.on_accent};
        border-color: {colors.accent}; }}
    QPushButton[kind]:focus {{ border: 2px solid {colors.accent}; padding: 6px 17px; }}
    QPushButton[kind="plain"]:focus {{ padding: 6px 13px; }}
    {buttons}
    QPushButton[kind][waiting="true"], QPushButton[kind]:disabled {{ color: {colors.muted};
        background: {colors.window}; border-color: {colors.line}; }}
    QHeaderView::section {{ background: {colors.window}; color: {colors.muted}; border: none;
        border-bottom: 1px solid {colors.line}; padding: 5px 8px; }}
    QTableView {{ border: 1px solid {colors.line}; border-radius: 6px; gridline-color: transparent;
        background: {colors.base}; }}
    QPlainTextEdit {{ border: 1px solid {colors.line}; border-radius: 6px;
        background: {colors.base}; padding: 2px; }}
    QPlainTextEdit:focus, QTableView:focus {{ border-color: {colors.accent}; }}
    QTableView::item {{ padding: 0 6px; }}
    QComboBox, QLineEdit, QDateTimeEdit {{ background: {colors.base}; color: {colors.text};
        border: 1px solid {colors.line}; border-radius: 6px; padding: 5px 8px; }}
    QComboBox:hover, QDateTimeEdit:hover {{ border-color: {colors.muted}; }}
    QComboBox:focus, QLineEdit:focus, QDateTimeEdit:focus {{ border-color: {colors.accent}; }}
    QComboBox:disabled, QDateTimeEdit:disabled {{ color: {colors.muted};
        background: {colors.window}; }}
    QComboBox::drop-down, QDateTimeEdit::drop-down {{ border: none; width: 26px; }}
    QComboBox::down-arrow, QDateTimeEdit::down-arrow {{ image: url("{arrow}");
        width: 12px; height: 12px; }}
    QComboBox QAbstractItemView {{ background: {colors.raised}; color: {colors.text};
        border: 1px solid {colors.line}; padding: 4px; outline: none;
        selection-background-color: {colors.accent}; selection-color: {colors.on_accent}; }}
    QScrollBar:vertical {{ background: transparent; width: 10px; margin: 2px; }}
    QScrollBar:horizontal {{ background: transparent; height: 10px; margin: 2px; }}
    QScrollBar::handle {{ background: {colors.line}; border-radius: 3px; min-height: 24px;
        min-width: 24px; }}
    QScrollBar::handle:hover {{ background: {colors.muted}; }}
    QScrollBar::add-line, QScrollBar::sub-line {{ width: 0; height: 0; }}
    QScrollBar::add-page, QScrollBar::sub-page {{ background: transparent; }}
    QSplitter::handle {{ background: transparent; }}
    QTabWidget::pane {{ border: none; border-top: 1px solid {colors.line}; }}
    QTabBar::tab {{ padding: 8px 16px; color: {colors.muted}; border: none;
        border-bottom: 2px solid transparent; background: transparent; }}
    QTabBar::tab:selected {{ color: {colors.text}; border-bottom-color: {colors.accent}; }}
    QTabBar::tab:hover {{ color: {colors.text}; }}
    QTabBar::tab:focus {{ color: {colors.accent}; }}
    """


def _button(kind: str, tint: str, colors: Colors) -> str:
    return f"""
    QPushButton[kind="{kind}"] {{ color: {tint}; border-color: {tint}; }}
    QPushButton[kind="{kind}"]:hover, QPushButton[kind="{kind}"]:pressed {{
        background: {tint}; color: {colors.base}; }}
    """
