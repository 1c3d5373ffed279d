"""One rule: its text, and what can be done with it."""

from __future__ import annotations

import math

from PyQt6.QtCore import Qt, pyqtSignal
from PyQt6.QtWidgets import QHBoxLayout, QMessageBox, QPushButton, QVBoxLayout, QWidget

from nfsnitch.protocol import (
    FOREVER,
    RESTART,
    AddRuleRequest,
    ChangeRuleRequest,
    MoveRuleRequest,
    RevokeRequest,
    RuleKind,
)
from nfsnitch_ui.connection import Connection
from nfsnitch_ui.facts import known
from nfsnitch_ui.i18n import _
from nfsnitch_ui.rule_editor import RuleEditor, with_enabled
from nfsnitch_ui.text import SafeLabel, shown
from nfsnitch_ui.views.table import Row

_MINUTE_S = 60
_DAY_MINUTES = 24 * 60


class RulePane(QWidget):
    """Shows a rule, and says by `wanted` what is to become of it."""

    wanted = pyqtSignal(object)
    """A request to send."""
    undoable = pyqtSignal(str, object, int)
    """What is about to be deleted, the request that brings it back, and its place (-1: none)."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection
        self._row: Row | None = None
        self._place = self._count = 0
        self.title = SafeLabel()
        self.title.setWordWrap(True)
        self.title.setProperty("look", "muted")
        self.editor = RuleEditor(connection)
        self.editor.edited.connect(self._enable)
        self.save = self._button(_("&Save"), self._on_save)
        self.revert = self._button(_("Re&vert"), self.forget_edit)
        self.switch = self._button(_("Switch &off"), self._on_switch)
        self.up = self._button(_("Move u&p"), lambda: self._on_move(-1))
        self.down = self._button(_("Move do&wn"), lambda: self._on_move(1))
        self.delete = self._button(_("&Delete"), self._on_delete)
        row = QHBoxLayout()
        for button in (self.save, self.revert):
            row.addWidget(button)
        row.addStretch(1)
        for button in (self.up, self.down, self.switch, self.delete):
            row.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 8, 0, 0)
        layout.addWidget(self.title)
        layout.addWidget(self.editor, 1)
        layout.addLayout(row)
        connection.changed.connect(self._enable)
        self.show_row(None, -1, 0)

    def name(self) -> str | None:
        """Return the name of the rule that is shown."""
        return None if self._row is None else str(self._row.get("name"))

    def show_row(self, row: Row | None, place: int, count: int) -> None:
        """Show a rule; an edit of the same rule that is under way stays."""
        is_same = row is not None and self.name() == row.get("name")
        self._row, self._place, self._count = row, place, count
        if not (is_same and self.editor.is_edited()):
            self.forget_edit()
        self._enable()

    def forget_edit(self) -> None:
        """Show the rule as it is in force."""
        rule = None if self._row is None else self._row.get("rule")
        text = rule if isinstance(rule, str) else ""
        if text != self.editor.rule() or self.editor.is_edited():
            self.editor.show_rule(text, is_editable=self._can_change())
        self._enable()

    def move_to(self, name: str, to: int) -> None:
        """Have a rule moved."""
        if self._connection.can_answer:
            self.wanted.emit(MoveRuleRequest(name, to))

    def _button(self, text: str, clicked: object) -> QPushButton:
        button = QPushButton(text)
        button.setProperty("kind", "plain")
        button.setAutoDefault(False)
        button.clicked.connect(lambda _checked: clicked())  # type: ignore[operator]  # a method
        return button

    def _can_change(self) -> bool:
        return (
            self._row is not None
            and self._row.get("kind") != RuleKind.FILE.value
            and isinstance(self._row.get("rule"), str)
            and self._connection.can_answer
        )

    def _enable(self) -> None:
        can_change, row = self._can_change(), self._row
        is_edited = self.editor.is_edited()
        is_lasting = row is not None and row.get("kind") == RuleKind.LASTING.value
        self.editor.field.setReadOnly(not can_change)
        self.save.setEnabled(can_change and is_edited)
        self.revert.setEnabled(is_edited)
        self.switch.setEnabled(can_change and not is_edited)
        is_off = row is not None and row.get("enabled") is False
        self.switch.setText(_("Switch &on") if is_off else _("Switch &off"))
        self.up.setEnabled(can_change and is_lasting and self._place > 0)
        self.down.setEnabled(can_change and is_lasting and 0 <= self._place < self._count - 1)
        self.delete.setEnabled(
            row is not None
            and row.get("kind") != RuleKind.FILE.value
            and self._connection.can_answer
        )
        title = self._title()
        self.title.setText(title)
        self.title.setVisible(bool(title))

    def _title(self) -> str:
        row = self._row
        if row is None:
            return _("Select a rule to read it.")
        texts = []
        if row.get("kind") == RuleKind.FILE.value:
            origin = known(row.get("origin")) or "?"
            texts.append(_("Written in {origin}: edit it there.").format(origin=origin))
        elif not self._connection.can_answer:
            texts.append(_("You may look at rules, but not change them."))
        note = known(row.get("note"))
        if note:
            texts.append(note)
        return " ".join(texts)

    def _on_save(self) -> None:
        name = self.name()
        if name is not None and self.editor.is_edited():
            self.wanted.emit(ChangeRuleRequest(name, self.editor.rule()))

    def _on_switch(self) -> None:
        name, row = self.name(), self._row
        if name is not None and row is not None:
            is_off = row.get("enabled") is False
            rule = with_enabled(str(row.get("rule")), is_enabled=is_off)
            self.wanted.emit(ChangeRuleRequest(name, rule))

    def _on_move(self, by: int) -> None:
        name = self.name()
        if name is not None:
            self.move_to(name, self._place + by)

    def _on_delete(self) -> None:
        name, row = self.name(), self._row
        if name is None or row is None:
            return
        undo = _undo(row)
        if undo is None and not self._confirms(name):
            return
        if undo is not None:
            text = _("“{name}” is deleted.").format(name=shown(name, 80))
            is_lasting = row.get("kind") == RuleKind.LASTING.value
            self.undoable.emit(text, undo, self._place if is_lasting else -1)
        self.wanted.emit(RevokeRequest(name))

    def _confirms(self, name: str) -> bool:
        text = _("Delete “{name}”? It cannot be brought back.").format(name=shown(name, 80))
        box = QMessageBox(self)
        box.setTextFormat(Qt.TextFormat.PlainText)
        box.setIcon(QMessageBox.Icon.Question)
        box.setText(text)
        delete = box.addButton(_("&Delete"), QMessageBox.ButtonRole.DestructiveRole)
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        box.exec()
        return box.clickedButton() is delete


def _undo(row: Row) -> AddRuleRequest | None:
    """Return what brings a rule back; None: nothing does."""
    rule, left_s = row.get("rule"), row.get("left_s")
    if not isinstance(rule, str) or isinstance(row.get("process"), int):
        return None
    if row.get("kind") == RuleKind.LASTING.value:
        return AddRuleRequest(rule, FOREVER)
    if isinstance(left_s, int | float):
        minutes = min(_DAY_MINUTES, max(1, math.ceil(left_s / _MINUTE_S)))
        return AddRuleRequest(rule, f"{minutes}m")
    return AddRuleRequest(rule, RESTART)
