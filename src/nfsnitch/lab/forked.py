"""Programs made by forking this interpreter: for machines on which starting another takes long.

Emulated, most of a daemon's start is the start of an interpreter and the import of its modules; a
fork has both already. With the environment variable NFSNITCH_LAB_FORKS the lab starts its programs
this way, and our own, when they are started as ``python -m MODULE``, without an exec. What then
differs is how a process begins, nothing of what it does; tests of the beginning itself (the unit,
its sandbox, its capabilities) start a daemon by a command of their own, which is always executed.

Only for processes of one thread: `os.fork` knows no other.
"""

from __future__ import annotations

import fcntl
import importlib
import json
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from nfsnitch.lab import enter

FORKS = bool(os.environ.get("NFSNITCH_LAB_FORKS"))
"""Whether the lab starts programs this way."""
_STANDARD = 2
"""The last of the standard streams."""
_OURS = {"nfsnitch.cli": ("nfsnitch.daemon",), "nfsnitch.lab.echo": ()}
"""Modules with a function `main`, and what else they will import."""


class Forked:
    """A child process, with what the lab uses of `subprocess.Popen`."""

    def __init__(self, wish: str, stdout: int, stderr: int) -> None:
        """Fork; the child does what *wish* says, as enter.py would."""
        main = _main_of(json.loads(wish))
        self.returncode: int | None = None
        self.pid = os.fork()
        if not self.pid:
            _become(json.loads(wish), stdout, stderr, main)

    def wait(self) -> int:
        """Wait for its end; return its exit status, or minus the signal that ended it."""
        if self.returncode is None:
            _, status = os.waitpid(self.pid, 0)
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def _main_of(wish: dict[str, Any]) -> Callable[[], int | None] | None:
    """Return what one of our own does, and None for others; its modules stay here for the next."""
    argv: list[str] = wish["argv"]
    is_python = wish["exe"] == sys.executable and argv[:2] == [sys.executable, "-m"]
    if not is_python or argv[2] not in _OURS:
        return None
    name = argv[2]
    module, *_ = [importlib.import_module(each) for each in (name, *_OURS[name])]

    def main() -> int | None:
        sys.argv = [str(module.__file__), *argv[3:]]
        status: int | None = module.main()
        return status

    return main


def _become(
    wish: dict[str, Any], stdout: int, stderr: int, main: Callable[[], int | None] | None
) -> NoReturn:
    """Be the child; nothing of what the caller has to do at its end is done here."""
    failed = enter.FAILED
    try:
        status = fcntl.fcntl(wish["status"], fcntl.F_DUPFD_CLOEXEC, enter.HIGH_FD)
        _place_standard_streams(stdout, stderr)
        try:
            if main is None:
                _for_each_descriptor(lambda number: os.set_inheritable(number, False))  # noqa: FBT003
                enter.enter(wish, status)
            else:
                enter.take_on(wish)
                failed = _run(main, wish, status)
        except OSError as error:
            os.write(status, os.fsencode(str(error)))
    finally:
        os._exit(failed)


def _place_standard_streams(stdout: int, stderr: int) -> None:
    # Parked first: one may be the number of the other.
    parked = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, enter.HIGH_FD) for each in (stdout, stderr)]
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    for number, source in enumerate((nothing, *parked)):
        os.dup2(source, number, inheritable=True)


def _run(main: Callable[[], int | None], wish: dict[str, Any], status: int) -> int:
    """Run the daemon as if this interpreter had just begun."""
    os.write(status, b"+")
    given = {int(number) for number in wish["fds"]}
    _for_each_descriptor(lambda number: None if number in given else os.close(number))
    for number in signal.valid_signals():
        if signal.getsignal(number) not in (signal.SIG_DFL, None):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(wish["env"])
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  for good
    sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
    sys.unraisablehook = sys.__unraisablehook__
    logging.getLogger().handlers.clear()
    warnings.simplefilter("ignore")
    try:
        return main() or 0
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 1
    except BaseException:  # noqa: BLE001  as an interpreter does with what nobody catches
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _for_each_descriptor(do: Callable[[int], None]) -> None:
    """Do something with all but the standard ones."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208  names are wanted, not paths
        with suppress(OSError):  # the one that the list was read by
            if int(name) > _STANDARD:
                do(int(name))
