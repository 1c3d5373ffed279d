"""What a person does with a window: presses keys, clicks, types."""

from __future__ import annotations

from PyQt6.QtCore import QPoint, Qt
from PyQt6.QtTest import QTest
from PyQt6.QtWidgets import QApplication, QWidget

from nfsnitch_ui.application import Program
from nfsnitch_ui.guard import GUARD_S
from nfsnitch_ui.prompt_window import PromptWindow
from ui.waiting import Clock, settle, wait_for

_INSIDE = QPoint(9, 9)


def focus(window: QWidget) -> None:
    """Put the window in front, as somebody does who clicks at its frame."""
    window.activateWindow()
    wait_for(lambda: QApplication.activeWindow() is window)


def press(widget: QWidget, key: Qt.Key, *, alt: bool = False) -> None:
    """Press a key while *widget* has the focus, or its window."""
    modifiers = Qt.KeyboardModifier.AltModifier if alt else Qt.KeyboardModifier.NoModifier
    QTest.keyClick(  # type: ignore[call-overload]  # PyQt's stubs take it for a method
        widget, key, modifiers
    )
    settle()


def click(widget: QWidget) -> None:
    """Click at the middle of *widget*."""
    middle = QPoint(widget.width() // 2, widget.height() // 2)
    QTest.mouseClick(  # type: ignore[call-overload]  # PyQt's stubs take it for a method
        widget, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, middle
    )
    settle()


def hold(widget: QWidget) -> None:
    """Press the mouse's button on *widget*."""
    QTest.mousePress(  # type: ignore[call-overload]  # PyQt's stubs take it for a method
        widget, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, _INSIDE
    )
    settle()


def let_go(widget: QWidget) -> None:
    """Release the mouse's button over *widget*."""
    QTest.mouseRelease(  # type: ignore[call-overload]  # PyQt's stubs take it for a method
        widget, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, _INSIDE
    )
    settle()


def shows(program: Program, *numbers: int) -> PromptWindow:
    """Wait until the prompt shows these questions, and return it."""
    wait_for(lambda: program.prompt.isVisible() and program.prompt.shown() == numbers)
    settle()
    return program.prompt


def past_guard(clock: Clock) -> None:
    """Let so much time pass that somebody has seen the question."""
    clock.now_s += GUARD_S + 0.01
