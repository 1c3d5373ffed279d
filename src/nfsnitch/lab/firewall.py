"""The real daemon in the client's namespace, and what it records."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nfsnitch.core.attach import AttachMode
from nfsnitch.core.loader import Loader
from nfsnitch.core.record import Json
from nfsnitch.lab.process import Child, EndedError, same_modules
from nfsnitch.lab.waiting import TimeIsOverError
from nfsnitch.lab.world import CLIENT, World
from nfsnitch.options import DEFAULT_QUEUE_NUM

READY = "ready"
READY_TIMEOUT_S = 60.0
"""Long: the slowest way to load the eBPF programs compiles them first."""
STOP_TIMEOUT_S = 20.0
_FOLLOWING_S = 86_400.0

ATTACH_VARIABLE = "NFSNITCH_ATTACH"
"""Environment variable: the attach mode of every firewall in the lab that is not given another."""

LOADER_VARIABLE = "NFSNITCH_BPF"
"""Environment variable: the loader of all of them, auto if it is not there."""

DAEMON = (sys.executable, "-m", "nfsnitch.cli")
"""The command whose ``run`` is the daemon."""

Fits = Callable[[Json], bool]


@dataclass(frozen=True, slots=True)
class Stopped:
    """How the daemon ended."""

    returncode: int
    stdout: str
    stderr: str


def having(**fields: Any) -> Fits:  # noqa: ANN401  a record's values are of many types
    """Return the test whether a record has all these values: ``having(dport=80, proto="tcp")``."""
    return lambda record: all(record.get(name) == value for name, value in fields.items())


class Firewall:
    """The daemon, started and stopped with the `with` block, enforcing inside it."""

    def __init__(  # noqa: PLR0913  all but the first two have a default, and are named
        self,
        world: World,
        rules: Sequence[Path],
        *,
        cgroup: Path | None = None,
        attach: AttachMode | None = None,
        queue_num: int = DEFAULT_QUEUE_NUM,
        extra: Sequence[str] = (),
        ready_timeout_s: float = READY_TIMEOUT_S,
        command: Sequence[str] = DAEMON,
        records: bool = True,
    ) -> None:
        """Prepare the daemon with *rules*, watching *cgroup* (None: the client's programs).

        The attach mode is *attach*, else what the environment's `ATTACH_VARIABLE` says, else auto.
        *command* is given ``run`` and its arguments. Without *records* it writes none, and there
        are none to wait for.
        """
        mode = attach or AttachMode(os.environ.get(ATTACH_VARIABLE) or AttachMode.AUTO)
        self._world = world
        self._ready_timeout_s = ready_timeout_s
        self._file = world.new_file("records.jsonl")
        self._parsed: list[Json] = []
        self._child: Child | None = None
        self.argv = (
            *(*command, "run", "--rules"),
            # It starts in another folder.
            *(str(path.absolute()) for path in rules),
            *("--cgroup", str(cgroup or world.apps), "--queue", str(queue_num)),
            *("--attach", mode.value),
            *("--bpf", os.environ.get(LOADER_VARIABLE) or Loader.AUTO.value),
            *("--state", str(world.folder / "state")),
            *(("--records", str(self._file.path)) if records else ()),
            *extra,
        )

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it if it still runs; how it ended matters only to those who call `stop`."""
        if self._child is not None and not self._child.has_ended():
            self.stop()

    @property
    def child(self) -> Child:
        """Return the daemon's process."""
        if self._child is None:
            raise EndedError("the firewall has not been started")
        return self._child

    def start(self) -> None:
        """Start the daemon and return once it enforces."""
        self._child = child = self._world.spawn(
            self.argv, netns=CLIENT, cgroup=self._world.infra, env=_daemon_env()
        )
        child.wait_for_line(child.stdout, lambda line: line == READY, self._ready_timeout_s)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> Stopped:
        """Stop it as a service manager would, and return how it ended."""
        self.child.stop(number, STOP_TIMEOUT_S)
        done = self.child.finish(STOP_TIMEOUT_S)
        return Stopped(done.returncode, done.stdout, done.stderr)

    @property
    def records(self) -> list[Json]:
        """Return all records so far, oldest first."""
        lines = self._file.lines()
        self._parsed += [json.loads(line) for line in lines[len(self._parsed) :]]
        return list(self._parsed)

    @property
    def records_file(self) -> Path:
        """Return the file that the daemon writes records to."""
        return self._file.path

    def follow(self, ends_fd: int, start: int = 0) -> Iterator[Json]:
        """Yield records from number *start* on as they come, until *ends_fd* is readable."""
        for line in self._file.follow(timeout_s=_FOLLOWING_S, ends_fd=ends_fd, start=start):
            yield json.loads(line)

    def wait_for_records(
        self, fits: Fits, count: int, timeout_s: float = 10.0, *, start: int = 0
    ) -> list[Json]:
        """Wait until *count* records fit, and return them; those already written count.

        The first *start* records are not looked at.
        """
        fitting: list[Json] = []
        lines = self._file.follow(timeout_s=timeout_s, ends_fd=self.child.pidfd, start=start)
        for line in lines:
            record = json.loads(line)
            if fits(record):
                fitting.append(record)
                if len(fitting) == count:
                    return fitting
        raise self._missing(count - len(fitting), timeout_s)

    def wait_for_record(self, fits: Fits, timeout_s: float = 10.0) -> Json:
        """Wait for the first record that fits, and return it; one already written counts."""
        return self.wait_for_records(fits, 1, timeout_s)[0]

    def _missing(self, count: int, timeout_s: float) -> EndedError | TimeIsOverError:
        stderr = self.child.stderr.text().strip()
        seen = f"{len(self.records)} records in all; the firewall said: {stderr or 'nothing'}"
        if self.child.has_ended():
            status = self.child.wait(0)
            return EndedError(f"the firewall ended with {status}, {count} records short; {seen}")
        return TimeIsOverError(f"{count} records short after {timeout_s:g} s; {seen}")


def _daemon_env() -> dict[str, str]:
    """Return the caller's environment: the daemon is ours, unlike the programs it decides about."""
    # Readiness is told to the lab, not to whoever started the lab; and its modules are compiled
    # once, as where it is installed.
    left_out = {"NOTIFY_SOCKET", "PYTHONDONTWRITEBYTECODE"}
    env = {name: value for name, value in os.environ.items() if name not in left_out}
    return env | same_modules()
