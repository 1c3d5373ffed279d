"""The prompter on a terminal that can be drawn on (prompt_toolkit)."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from prompt_toolkit.application import Application, run_in_terminal
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import FormattedTextControl, Layout, Window
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.styles import Style

from nfsnitch.control_client import ControlError, NotRunningError
from nfsnitch.prompt.drafts import edited, kept
from nfsnitch.prompt.ending import (
    AGAIN_S,
    INTERRUPTED,
    TERMINATED,
    Ending,
    Options,
    failed,
    left,
    lost,
)
from nfsnitch.prompt.link import Link
from nfsnitch.prompt.picture import picture
from nfsnitch.prompt.prompter import Prompter
from nfsnitch.prompt.session import Session

_STYLE = Style.from_dict(
    {
        "head": "reverse",
        "strong": "bold",
        "faint": "ansibrightblack",
        "loud": "bold ansired",
        "keys": "ansicyan",
    }
)
_WITHOUT_COLOUR = Style.from_dict({"head": "reverse", "strong": "bold", "loud": "bold underline"})
_SPECIAL = {
    "up": "up",
    "down": "down",
    "pageup": "pageup",
    "pagedown": "pagedown",
    "enter": "enter",
    "backspace": "backspace",
}
_SAME_SEQUENCE_S = 0.05
"""What comes so soon after an Escape is the rest of some terminal's sequence, and no key."""
_REFRESH_S = 1.0


class Screen:
    """The whole terminal, until the person leaves or the daemon is gone."""

    def __init__(self, path: Path, options: Options) -> None:
        self._path, self._options = path, options
        self._loop = asyncio.new_event_loop()
        self._session = Session(self._loop.time, options.guard_s)
        self._session.on_new = self._asked
        self._prompter = Prompter(self._session, self._edit, kept)
        self._link: Link | None = None
        self._ending: Ending | None = None
        """How it is to end, as soon as that can be."""
        self._escaped_s = 0.0
        self._tasks: set[asyncio.Future[None]] = set()
        self._app: Application[Ending] = self._application()

    def run(self) -> Ending:
        """Show it; return how it ended."""
        try:
            ending = self._loop.run_until_complete(self._run())
            self._prompter.leave()
            return ending._replace(kept=tuple(self._session.kept))
        finally:
            self._hang_up()
            self._loop.close()

    async def _run(self) -> Ending:
        try:
            self._connect()
        except NotRunningError as error:
            if not self._options.follows:
                return failed(error)
            self._again()
        except ControlError as error:
            return failed(error)
        for number in (signal.SIGTERM, signal.SIGHUP):
            self._loop.add_signal_handler(number, self._exit, Ending(TERMINATED))
        _forget_typed()
        try:
            return await self._app.run_async(handle_sigint=False)
        except EOFError:  # the terminal is gone
            return left(self._session)

    def _application(self) -> Application[Ending]:
        no_colour = bool(os.environ.get("NO_COLOR"))  # no-color.org
        app: Application[Ending] = Application(
            layout=Layout(
                Window(FormattedTextControl(self._text, focusable=True), always_hide_cursor=True)
            ),
            key_bindings=self._bindings(),
            style=_WITHOUT_COLOUR if no_colour else _STYLE,
            color_depth=ColorDepth.DEPTH_1_BIT if no_colour else None,
            full_screen=True,
            refresh_interval=_REFRESH_S,
        )
        app.ttimeoutlen = _SAME_SEQUENCE_S
        return app

    def _text(self) -> FormattedText:
        size = self._app.output.get_size()
        lines = picture(self._prompter, size.columns, size.rows)
        pieces = FormattedText()
        for at, line in enumerate(lines):
            pieces += [("", "\n")] * (at > 0)
            pieces += [
                (" ".join(f"class:{each}" for each in style.split()), text) for style, text in line
            ]
        return pieces

    def _bindings(self) -> KeyBindings:
        keys = KeyBindings()

        def bind(key: str, handle: Callable[[], None], *, eager: bool = False) -> None:
            keys.add(key, eager=eager)(lambda _event: handle())

        for key, name in _SPECIAL.items():
            bind(key, lambda name=name: self._press(name))  # type: ignore[misc]  # a default is no argument here
        bind("escape", self._escape, eager=True)
        bind("c-c", lambda: self._exit(left(self._session, INTERRUPTED)))
        bind("c-z", self._suspend)
        bind("c-l", self._draw_anew)
        bind(Keys.BracketedPaste, lambda: self._session.notice("pasted text answers nothing"))

        @keys.add(Keys.Any)
        def _(event: KeyPressEvent) -> None:
            if len(event.data) == 1 and event.data.isprintable():
                self._press(event.data)

        return keys

    def _suspend(self) -> None:
        self._app.suspend_to_background()

    def _draw_anew(self) -> None:
        self._app.renderer.clear()

    def _escape(self) -> None:
        self._press("escape")
        self._escaped_s = self._loop.time()

    def _press(self, key: str) -> None:
        now_s = self._loop.time()
        if now_s - self._escaped_s < _SAME_SEQUENCE_S:
            self._escaped_s = now_s
            return
        self._prompter.press(key)
        if self._prompter.wants_to_quit:
            self._exit(left(self._session))
        self._draw()

    def _draw(self) -> None:
        """Draw now, and once more when the keys count again."""
        self._app.invalidate()
        wait_s = self._session.board.ready_s - self._loop.time()
        if wait_s > 0:
            self._loop.call_later(wait_s, self._app.invalidate)

    def _exit(self, ending: Ending) -> None:
        """End, but not while somebody is at work in an editor."""
        self._ending = self._ending or ending
        if self._app.is_running and not self._app.is_done and not self._tasks:
            self._app.exit(result=self._ending)

    def _asked(self) -> None:
        if self._options.rings and len(self._session.board) == 1:
            self._app.output.bell()
            self._app.output.flush()

    def _connect(self) -> None:
        self._link = Link(self._path, self._session.hear)
        self._session.connected(self._link.ask)
        self._loop.add_reader(self._link.fileno(), self._read)

    def _try_again(self) -> None:
        try:
            self._connect()
        except NotRunningError:
            self._again()
        except ControlError as error:
            self._exit(failed(error))

    def _again(self) -> None:
        self._loop.call_later(AGAIN_S, self._try_again)

    def _hang_up(self) -> None:
        if self._link is not None:
            self._loop.remove_reader(self._link.fileno())
            self._link.close()
            self._link = None

    def _read(self) -> None:
        try:
            is_open = self._link is not None and self._link.read()
        except ControlError as error:
            self._hang_up()
            self._exit(failed(error))
            return
        if not is_open:
            self._hang_up()
            ending = lost(self._session)
            self._session.lost()
            if self._options.follows:
                self._again()
            else:
                self._exit(ending)
        self._draw()

    def _edit(self, text: str, then: Callable[[str | None], None]) -> None:
        async def edit() -> None:
            told: list[str] = []
            changed = await run_in_terminal(lambda: edited(text, told.append), in_executor=True)
            _forget_typed()
            for each in told:
                self._session.notice(each)
            then(changed)
            self._draw()

        task = self._loop.create_task(edit())
        self._tasks.add(task)
        task.add_done_callback(self._edited)

    def _edited(self, task: asyncio.Future[None]) -> None:
        self._tasks.discard(task)
        if self._ending is not None:
            self._exit(self._ending)


def _forget_typed() -> None:
    """Forget what was typed before anybody could see anything here."""
    with suppress(termios.error):
        termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)
