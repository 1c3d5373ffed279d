"""One question, or several at once, as people read them."""

from __future__ import annotations

from collections.abc import Sequence

from PyQt6.QtCore import QSize, Qt, pyqtSignal
from PyQt6.QtGui import QIcon
from PyQt6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QScrollArea,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from nfsnitch.protocol import Asked
from nfsnitch_ui.facts import (
    Fact,
    asked_row,
    change,
    full_text,
    owner_facts,
    program_name,
    rivals,
)
from nfsnitch_ui.i18n import _, counted
from nfsnitch_ui.icons import letter_icon, own_icon, program_icon
from nfsnitch_ui.style import fixed_font
from nfsnitch_ui.text import ElidedLabel, SafeLabel, apart
from nfsnitch_ui.timers import later
from nfsnitch_ui.words import (
    desktop_icon,
    destination,
    destination_facts,
    port_text,
    reason,
    sentence,
    waiting,
    wants,
)

_ICON_PIXELS = 48
_MOST_SENTENCES = 12


class Facts(QWidget):
    """Labelled lines; the widgets are made once and used again."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(14, 12, 14, 12)
        self._grid.setHorizontalSpacing(14)
        self._grid.setVerticalSpacing(6)
        self._grid.setColumnStretch(1, 1)
        self._rows: list[tuple[SafeLabel, ElidedLabel]] = []

    def show_facts(self, facts: Sequence[Fact]) -> None:
        """Show these."""
        while len(self._rows) < len(facts):
            self._add_row()
        for place, (label, value) in enumerate(self._rows):
            is_used = place < len(facts)
            label.setVisible(is_used)
            value.setVisible(is_used)
            if is_used:
                _fill(label, value, facts[place])
        self._grid.setRowStretch(len(self._rows), 1)

    def _add_row(self) -> None:
        label, value = SafeLabel(), ElidedLabel()
        label.setProperty("look", "muted")
        label.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        row = len(self._rows)
        self._grid.setRowStretch(row, 0)
        self._grid.addWidget(label, row, 0)
        self._grid.addWidget(value, row, 1)
        self._rows.append((label, value))


class QuestionPanel(QWidget):
    """The question above, and below it all that is known."""

    toggled = pyqtSignal()
    """The full details appear, or go."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._asked: tuple[Asked, ...] = ()
        self.icon = QLabel()
        self.icon.setTextFormat(Qt.TextFormat.PlainText)
        self.icon.setFixedSize(_ICON_PIXELS, _ICON_PIXELS)
        self.who, self.wants, self.where = ElidedLabel(), ElidedLabel(), ElidedLabel()
        self.who.setProperty("look", "headline")
        self.where.setProperty("look", "place")
        self.wants.setProperty("look", "muted")
        self.warning = SafeLabel()
        self.warning.setProperty("look", "warning")
        self.warning.setWordWrap(True)
        self.warning.hide()
        self.facts = Facts()
        self.whole = QPlainTextEdit()
        self.whole.setReadOnly(True)
        self.whole.setFont(fixed_font())
        self.area = QScrollArea()
        self.area.setWidget(self.facts)
        self.area.setWidgetResizable(True)
        self.area.setFrameShape(QFrame.Shape.NoFrame)
        self.area.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.area.setAccessibleName(_("What is known of it"))
        self._card = QFrame()
        self._card.setProperty("look", "card")
        inside = QVBoxLayout(self._card)
        inside.setContentsMargins(1, 1, 1, 1)
        inside.addWidget(self.area)
        self._pages = QStackedWidget()
        self._pages.addWidget(self._card)
        self._pages.addWidget(self.whole)
        self.details_button = QPushButton(_("F&ull details"))
        self.details_button.setProperty("kind", "plain")
        self.details_button.setCheckable(True)
        self.details_button.setAutoDefault(False)
        self.details_button.toggled.connect(self._on_details)
        self._icon_later = later(self, 0, self._show_desktop_icon)
        self._lay_out()

    def show_questions(self, asked: Sequence[Asked]) -> None:
        """Show these."""
        self._asked = tuple(asked)
        if len(self._asked) == 1:
            self._show_one(self._asked[0])
        else:
            self._show_several()
        self._on_details()

    def show_message(self, text: str) -> None:
        """Show that nothing is asked, and *text*."""
        self._asked = ()
        self._icon_later.stop()
        self._show_icon(own_icon())
        self.who.show_text(_("Nothing is asked"))
        self.wants.show_text("")
        self.where.show_text("")
        self.warning.hide()
        self.facts.show_facts([Fact("", text)] if text else [])
        self._on_details()

    def neutral_focus(self) -> QWidget:
        """Return a widget that keys do no harm to."""
        return self.area

    def _lay_out(self) -> None:
        words = QGridLayout()
        words.setVerticalSpacing(2)
        words.addWidget(self.who, 0, 0)
        words.addWidget(self.wants, 1, 0)
        words.addWidget(self.details_button, 0, 1, 2, 1, Qt.AlignmentFlag.AlignTop)
        words.addWidget(self.where, 2, 0, 1, 2)
        words.setColumnStretch(0, 1)
        head = QHBoxLayout()
        head.setSpacing(14)
        head.addWidget(self.icon, 0, Qt.AlignmentFlag.AlignTop)
        head.addLayout(words, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(12)
        layout.addLayout(head)
        layout.addWidget(self.warning)
        layout.addWidget(self._pages, 1)

    def _show_one(self, asked: Asked) -> None:
        flow = asked.flow
        name = program_name(asked.owner)
        icon = desktop_icon(asked.owner)
        self._show_icon(letter_icon(name))
        if icon is not None:
            self._icon_later.start()  # after the question is painted: it may read files
        self.who.show_text(apart(name))
        self.wants.show_text(wants(flow))
        self.where.show_text(_where(asked))
        self.setAccessibleName(sentence(asked))
        warning = change(asked.owner)
        self.warning.setText(warning or "")
        self.warning.setVisible(warning is not None)
        self.facts.show_facts(
            [
                *rivals(asked),
                *owner_facts(asked.owner),
                *destination_facts(flow),
                Fact(_("Why asked"), reason(asked)),
                *_count_fact(asked),
            ]
        )

    def _show_several(self) -> None:
        count = len(self._asked)
        self._icon_later.stop()
        self._show_icon(own_icon())
        self.who.show_text(counted("{n} question", "{n} questions", count))
        self.wants.show_text(_("One answer for all of them"))
        self.where.show_text("")
        changed = sum(change(each.owner) is not None for each in self._asked)
        self.warning.setText(
            counted(
                "{n} of them is of a program whose file has changed.",
                "{n} of them are of programs whose files have changed.",
                changed,
            )
        )
        self.warning.setVisible(changed > 0)
        facts = [Fact("", sentence(each)) for each in self._asked[:_MOST_SENTENCES]]
        if count > _MOST_SENTENCES:
            more = counted("and {n} more", "and {n} more", count - _MOST_SENTENCES)
            facts.append(Fact("", more, is_known=False))
        self.facts.show_facts(facts)

    def _on_details(self) -> None:
        shows = self.details_button.isChecked() and bool(self._asked)
        if shows:
            texts = (full_text(asked_row(each)) for each in self._asked[:_MOST_SENTENCES])
            text = "\n\n".join(texts)
            if text != self.whole.toPlainText():
                self.whole.setPlainText(text)
        self._pages.setCurrentWidget(self.whole if shows else self._card)
        self.toggled.emit()

    def _show_desktop_icon(self) -> None:
        if len(self._asked) == 1:
            owner = self._asked[0].owner
            self._show_icon(program_icon(desktop_icon(owner) or "", program_name(owner)))

    def _show_icon(self, icon: QIcon) -> None:
        size = QSize(_ICON_PIXELS, _ICON_PIXELS)
        self.icon.setPixmap(icon.pixmap(size, self.devicePixelRatioF()))


def _where(asked: Asked) -> str:
    """Return the destination for the headline: short enough to be read in one glance."""
    where, port = apart(destination(asked.flow)), port_text(asked.flow)
    if port is None:
        return where
    return _("{where}, port {port}").format(where=where, port=port)


def _count_fact(asked: Asked) -> list[Fact]:
    if asked.times is not None:
        return [Fact(_("So far"), counted("{n} time", "{n} times", asked.times))]
    return [Fact(_("Waiting"), waiting(asked))]


def _fill(label: SafeLabel, value: ElidedLabel, fact: Fact) -> None:
    label.setText(fact.label)
    value.show_text(fact.text, fact.whole)
    look = "loud" if fact.is_loud else "" if fact.is_known else "muted"
    if value.property("look") != look:
        value.setProperty("look", look)
        style = value.style()
        if style is not None:
            style.unpolish(value)
            style.polish(value)
