"""One scenario while it is played: its folder, programs and names, and what it has seen so far."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nfsnitch.core.record import Json
from nfsnitch.lab.process import Child, Finished, found
from nfsnitch.lab.scenario.copies import copy
from nfsnitch.lab.scenario.model import Program, Range, Run, Scenario
from nfsnitch.lab.scenario.reading_values import substituted
from nfsnitch.lab.scenario.sending import RawSender
from nfsnitch.lab.scenario.stage import Stage
from nfsnitch.lab.waiting import LabError
from nfsnitch.lab.world import CLIENT, PROGRAM_ENV

OWN_PYTHON = "python"
"""The name of a binary that is the lab's own interpreter."""
_SHELL_PARENT = '"$@"; exit $?'
_PYTHON_PARENT = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"


class Scene:
    """A scenario on a stage that is ready for it."""

    def __init__(self, stage: Stage, scenario: Scenario, folder: Path) -> None:
        """Make the scenario's files in *folder*, which must not exist, and copies of programs."""
        self.stage, self.scenario, self.folder = stage, scenario, folder
        self.children: dict[str, Child] = {}
        self.finished: dict[str, Finished] = {}
        self.senders: dict[tuple[str, str | None, str], RawSender] = {}
        """By host, program and the name that steps give them."""
        self.is_settled = False
        """All that was under way has settled, and no step has done anything since."""
        self.clock_moved_ns = 0
        """By how much the wall clock was set so far."""
        folder.mkdir(mode=0o755, parents=True)
        self.programs = {each.name: self._copied(each) for each in scenario.programs}
        self._pythons = {each.name for each in scenario.programs if _is_python(each.binary)}
        places = {name: str(path) for name, path in self.programs.items()}
        self._places = places | {"folder": str(folder)}
        self._places |= {name: str(folder / name) for name in scenario.files}
        for name, text in scenario.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(self.text(text), encoding="utf-8")
        self.began_s = time.monotonic()

    def text(self, text: str) -> str:
        """Return *text* with paths in the place of ``$NAME``."""
        return substituted(text, self._places)

    def value(self, value: Any) -> Any:  # noqa: ANN401  a record's values are of many types
        """Return *value* with paths in the place of ``$NAME`` in all its texts."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self.value(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(each) for each in value]
        return value

    @property
    def is_still(self) -> bool:
        """Whether all has settled, and no program of the scenario runs that could do more."""
        idle = {sender.child for sender in self.senders.values()}  # they do as they are told
        return self.is_settled and all(
            child in idle or child.has_ended() for child in self.children.values()
        )

    @property
    def records(self) -> list[Json]:
        """Return the scenario's records so far."""
        return self.stage.daemon.records

    def start(self, run: Run) -> Child:
        """Start a program of the scenario."""
        argv = self._with_parents(run)
        stdin = self.stage.world.new_file("stdin")
        stdin.path.write_text(self.text(run.stdin), encoding="utf-8")
        descriptor = os.open(stdin.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            child = self.stage.world.spawn(
                argv,
                netns=run.host,
                cgroup=self._cgroup(run.host, run.cgroup),
                uid=run.uid if run.uid is not None or run.gid is None else 0,
                gid=run.gid,
                fds={0: descriptor},
                mntns=self.stage.mntns,
            )
        finally:
            os.close(descriptor)
        self.keep(run.name or run.program.lstrip("$"), child)
        return child

    def keep(self, name: str, child: Child) -> None:
        """Remember a program under its name; it ends with the scenario."""
        self.children[name] = child

    def finish(self, name: str, timeout_s: float) -> Finished:
        """Wait for a program's end."""
        if name not in self.finished:
            self.finished[name] = self.children[name].finish(timeout_s)
        return self.finished[name]

    def program(self, name: str) -> str:
        """Return the path of a program, ``$NAME`` or what PATH has."""
        return self.text(name) if name.startswith("$") else found(name, PROGRAM_ENV)

    def close(self) -> None:
        """End all programs of the scenario, and what they have started."""
        self.stage.end()
        for sender in self.senders.values():
            sender.close()
        for child in self.children.values():
            child.close()
        self._set_clock_back()

    def _set_clock_back(self) -> None:
        if self.clock_moved_ns:
            now_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
            time.clock_settime_ns(time.CLOCK_REALTIME, now_ns - self.clock_moved_ns)

    def _cgroup(self, host: str, name: str | None) -> Path | None:
        if host != CLIENT:
            return self.stage.others
        return None if name is None else self.stage.world.cgroup(name)

    def _with_parents(self, run: Run) -> list[str]:
        argv = [self.program(run.program), *map(self.text, run.args)]
        for parent in reversed(run.parents):
            path = self.program(parent)
            is_python = parent.lstrip("$") in self._pythons or _is_python(Path(path).name)
            if is_python:
                argv = [path, "-I", "-S", "-c", _PYTHON_PARENT, *argv]
            else:
                argv = [path, "-c", _SHELL_PARENT, Path(path).name, *argv]
        return argv

    def _copied(self, program: Program) -> Path:
        is_own = program.binary == OWN_PYTHON
        source = Path(sys.executable if is_own else found(program.binary, PROGRAM_ENV)).resolve()
        if program.path is None:
            return self.stage.copies.of(source, program.name)
        place = (self.folder / program.path).absolute()
        if not place.is_relative_to(self.folder) or ".." in place.parts:
            raise LabError(f"program {program.name} would lie outside of the scenario's folder")
        place.parent.mkdir(parents=True, exist_ok=True)
        copy(source, place)
        return place


def folder_name(scenario: Scenario) -> str:
    """Return a name for what belongs to a scenario: its file's, plain."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", Path(scenario.file).stem)[:60] or "scenario"


def _is_python(binary: str) -> bool:
    return Path(binary).name.startswith("python")


def seconds(time_ns: int) -> float:
    """Return a time of a scenario in seconds."""
    return time_ns / 1e9


def in_words(count: Range, noun: str) -> str:
    """Return how many are wanted, as in ``3 packets``."""
    return f"{count.text} {noun}{'' if count.text == '1' else 's'}"


def first(lines: Iterable[str], most: int) -> list[str]:
    """Return the first *most* lines, and a word about the rest."""
    lines = list(lines)
    left = len(lines) - most
    return lines[:most] + ([f"… and {left} more"] if left > 0 else [])
