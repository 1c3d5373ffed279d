"""The tests of one kernel: a guest that runs them mode after mode, and what became of each."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vm.by_bcc import compile_for
from vm.guest import Guest
from vm.kernels import Kernel
from ways.cells import Cell

TIME_LIMIT_S = 65 * 60
"""For all of one kernel; emulated, and with whatever else the machine has to do at the time."""
_PATIENCE = 10
"""The guest's clock is real while its processor is emulated: all deadlines are so much longer."""
_TEST_LIMIT_S = 900
_POLL_S = 0.25
LOADER_MARK = "-bcc"
"""Behind the mode of a test that is to go through with what bcc compiles, in the guest itself."""
_COMPILED_THERE = Path("/run/nfsnitch-cache")
_SENDERS = os.environ.get("NFSNITCH_SENDERS", "50")
"""Short-lived ones in each of ten ways to send: `make test-counts` has all of them."""
_EMULATOR_FAULT = "int3"
"""In the panic that the emulator now and then brings on where the kernel patches its own code."""


class Wanted(NamedTuple):
    """One test on one kernel."""

    mode: str
    """As in ``nfsnitch run --attach``; with ``-bcc`` behind it, by that loader."""
    nodeid: str


@dataclass(frozen=True, slots=True)
class Result:
    """What became of it."""

    outcome: str
    """As pytest says it: passed, failed, skipped."""
    text: str
    """Why, unless it passed."""
    seconds: float
    cells: tuple[Cell, ...] = ()
    """Of the table of ways out."""


class GuestSession:
    """Runs tests in a guest; results come one by one."""

    def __init__(self, line: str, wanted: Sequence[Wanted], folder: Path) -> None:
        """Boot the kernel of *line* and let it run all of *wanted*; *folder* is for its files."""
        self._kernel = Kernel.of(line)
        self._cache = _COMPILED_THERE
        if not any(LOADER_MARK in each.mode for each in wanted):
            self._cache = folder.with_name(f"bcc-{line}")
            compile_for(self._kernel, self._cache)
        self._wanted = list(wanted)
        self._folder = folder
        self._results: dict[Wanted, Result] = {}
        self._end = time.monotonic() + TIME_LIMIT_S
        self._why = ""
        self.boots = 0
        self._guest = self._boot()

    def result(self, wanted: Wanted) -> Result:
        """Wait until *wanted* is decided, and return how; a guest that dies decides as well."""
        while wanted not in self._results:
            # Asked before reading: what is written just before the end counts.
            is_on = self._guest.is_on()
            self._read()
            if wanted in self._results:
                break
            if time.monotonic() > self._end:
                self._give_up(f"the guest was not done after {TIME_LIMIT_S} s")
            elif not is_on:
                self._after_the_end()
            else:
                time.sleep(_POLL_S)
        return self._results[wanted]

    def close(self) -> None:
        """Turn the guest off."""
        self._guest.__exit__()

    def _boot(self) -> Guest:
        self.boots += 1
        share = self._folder / f"boot-{self.boots}"
        share.mkdir(parents=True)
        self._file = share / "results.jsonl"
        script = share / "tests.sh"
        script.write_text("\n".join(self._script(share)), encoding="utf-8")
        return Guest(self._kernel, share, ["bash", str(script)]).__enter__()

    def _script(self, share: Path) -> list[str]:
        lines = [
            f"export NFSNITCH_RESULTS={shlex.quote(str(self._file))}",
            f"export NFSNITCH_LAB_PATIENCE={_PATIENCE}",
            "export NFSNITCH_LAB_FORKS=1",
            f"export CACHE_DIRECTORY={shlex.quote(str(self._cache))}",
            f"export NFSNITCH_SENDERS={shlex.quote(_SENDERS)}",
            f"export PYTHONPATH={shlex.quote(str(Path(__file__).parents[1]))}",
        ]
        left = [wanted for wanted in self._wanted if wanted not in self._results]
        for mode in dict.fromkeys(wanted.mode for wanted in left):
            names = share / f"{mode}.tests"
            chosen = [wanted.nodeid for wanted in left if wanted.mode == mode]
            names.write_text("\n".join(chosen), encoding="utf-8")
            command = [sys.executable, "-m", "pytest", f"@{names}", "-q", "--tb=long"]
            # Of no use there, and slow to load.
            command += [f"-pno:{each}" for each in ("cacheprovider", "xdist", "hypothesispytest")]
            command += ["-pvm.reporter", f"--timeout={_TEST_LIMIT_S}", "-otimeout_func_only=true"]
            attach, _, loader = mode.partition("-")
            told = {"ATTACH": attach, "GUEST_MODE": mode} | ({"BPF": loader} if loader else {})
            setting = " ".join(f"NFSNITCH_{name}={value}" for name, value in told.items())
            lines.append(f"{setting} {shlex.join(command)}")
        return lines

    def _read(self) -> None:
        text = self._file.read_text(encoding="utf-8") if self._file.exists() else ""
        for line in text.splitlines(keepends=True):
            if line.endswith("\n"):
                found = json.loads(line)
                wanted = Wanted(found["mode"], found["nodeid"])
                noted = found.get("properties", ())
                self._results[wanted] = Result(
                    found["outcome"],
                    found["text"],
                    found["seconds"],
                    tuple(Cell.read(value) for name, value in noted if name == "cell"),
                )

    def _after_the_end(self) -> None:
        """Boot once more if it was the emulator's fault; else, what is not done has failed."""
        tail = self._guest.console_tail()
        if self._guest.status is None and _EMULATOR_FAULT in tail and self.boots == 1:
            self._say("the emulator brought the kernel down (int3); booting it once more")
            self._guest = self._boot()
        else:
            self._give_up("the guest ended before this test was done")

    def _give_up(self, why: str) -> None:
        output = (
            self._guest.output.read_text("utf-8", "replace")[-4000:]
            if (self._guest.output.exists())
            else ""
        )
        text = (
            f"{why} (boot {self.boots}, files in {self._folder})\n"
            f"--- end of its console\n{self._guest.console_tail()}\n"
            f"--- end of what the tests said\n{output}"
        )
        self.close()
        for wanted in self._wanted:
            self._results.setdefault(wanted, Result("failed", text, 0.0))

    def _say(self, what: str) -> None:
        # Past pytest's capture, so that it is seen although the test may pass.
        os.write(2, f"\nvm: {self._kernel.version}: {what}\n".encode())
