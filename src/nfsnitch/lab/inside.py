"""Functions run inside a network namespace, without another process."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from nfsnitch.lab.enter import CLONE_NEWNET, enter_netns

_T = TypeVar("_T")


def inside(netns: Path, do: Callable[[], _T]) -> _T:
    """Call *do* in the network namespace that the file *netns* stands for; return what it returns.

    It runs in a thread of its own, which ends with it: the caller never leaves its namespace, and
    programs that *do* starts are born in the other one. What *do* raises is raised here.
    """

    def enter() -> None:
        enter_netns(str(netns))

    return _in_thread(enter, do)


def inside_a_new_one(do: Callable[[], _T]) -> _T:
    """Call *do* in a network namespace that has no name, and that is gone when *do* is done."""
    return _in_thread(_leave_all, do)


def _leave_all() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "unshare")


def _in_thread(enter: Callable[[], None], do: Callable[[], _T]) -> _T:
    results: list[_T] = []
    problems: list[BaseException] = []

    def run() -> None:
        try:
            enter()
            results.append(do())
        except BaseException as problem:  # noqa: BLE001  it is raised where it can be handled
            problems.append(problem)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if problems:
        raise problems[0]
    return results[0]
