"""A display without a screen (Xvfb), and the desktop program on it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple

import nfsnitch
from nfsnitch.lab.process import Child
from nfsnitch.lab.world import CLIENT, SERVER, World
from nfsnitch.protocol import socket_path

_START_TIMEOUT_S = 60.0
_PAINT_TIMEOUT_S = 60.0


class Painted(NamedTuple):
    """A question has been painted."""

    number: int
    at_ns: int
    """Monotonic."""
    allow_x: int
    """The middle of the button that allows, on the display."""
    allow_y: int


class Desktop:
    """Somebody's desktop, beside the client's network namespace."""

    def __init__(self, world: World, *more: str) -> None:
        """Start a display, and ``nfsnitch-ui`` there with *more* arguments."""
        self._world = world
        self.folder = world.folder / "desktop"
        self.folder.mkdir(mode=0o700)
        argv = ["Xvfb", "-displayfd", "1", "-screen", "0", "1280x1024x24", "-nolisten", "tcp"]
        self.display = world.spawn(argv, netns=SERVER, cgroup=world.infra)
        number = self.display.wait_for_line(self.display.stdout, str.isdecimal, 20)
        self.env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(_module_places()),
            "DISPLAY": f":{number}",
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "QT_QPA_PLATFORM": "xcb",
            "XDG_RUNTIME_DIR": str(self.folder),
        }
        self._paints = world.new_file("paints")
        self.program = self._start(*more)

    def painted(self, number: int) -> Painted:
        """Wait until a question has been painted."""
        lines = self._paints.follow(timeout_s=_PAINT_TIMEOUT_S, ends_fd=self.program.pidfd)
        for line in lines:
            found = Painted(*map(int, line.split()))
            if found.number == number:
                return found
        said = self.program.stderr.text().strip()
        raise TimeoutError(f"question {number} was not painted; the program said: {said}")

    def restart(self, *more: str) -> None:
        """Start the program once more; what was painted before is forgotten."""
        self._paints = self._world.new_file("paints")
        self.program = self._start(*more)

    def click(self, x: int, y: int) -> None:
        """Press the mouse's button there."""
        self.act("mousemove", str(x), str(y), "click", "1")

    def act(self, *argv: str) -> None:
        """Do with mouse and keyboard what xdotool(1) is told."""
        child = self._world.spawn(
            ["xdotool", *argv], netns=SERVER, cgroup=self._world.infra, env=self.env
        )
        child.finish(20)

    def _start(self, *more: str) -> Child:
        path = Path(socket_path(self._world.netns_inode(CLIENT)))
        argv = [sys.executable, "-m", "nfsnitch_ui", "--hidden", "--socket", str(path)]
        return self._world.spawn(
            [*argv, "--paint-log", str(self._paints.path), *more],
            netns=SERVER,
            cgroup=self._world.infra,
            env=self.env,
        )


def _module_places() -> list[str]:
    """Return where Python finds the firewall, and the desktop program that lies beside it."""
    package = Path(nfsnitch.__file__).absolute().parent
    places = (package.parent, package.parents[1] / "ui")
    return [str(place) for place in places if place.is_dir()]
