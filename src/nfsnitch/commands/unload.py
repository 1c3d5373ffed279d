"""``nfsnitch unload``: take the eBPF programs that outlive the daemon out of the kernel."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from nfsnitch.adapters import netns
from nfsnitch.adapters.bpf import bpffs
from nfsnitch.adapters.bpf.keeping import remove_pins
from nfsnitch.adapters.bpf.libbpf import BpfError
from nfsnitch.adapters.instance import AlreadyRunningError, InstanceLock
from nfsnitch.commands.asking import inode_number, say, write_line
from nfsnitch.commands.stop import stop_daemon
from nfsnitch.control_client import Client, ControlError, NotAllowedError
from nfsnitch.protocol import socket_path

FAILED = 1
"""Exit status: something is still there."""
_STOP_TIMEOUT_S = 30.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what the command line understands."""
    parser.description = (
        "Remove the eBPF programs and maps that a daemon has left in the kernel for the next one "
        "(root only): nothing records who opens a socket any more, and what was recorded is "
        "forgotten. The ruleset stays as it is. Exit status 1 if something is still there, for a "
        "daemon runs or it was refused; 0 also if there was nothing."
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--netns",
        type=inode_number,
        metavar="INODE",
        help="of another network namespace: the number in readlink /proc/PID/ns/net",
    )
    which.add_argument("--all", action="store_true", help="of all network namespaces")
    parser.add_argument("--stop", action="store_true", help="stop a daemon that runs, first")
    parser.set_defaults(command=_unload)


def _unload(options: argparse.Namespace) -> int:
    if os.geteuid() != 0:
        say("unload: only root may remove what is pinned; use sudo")
        return NotAllowedError.exit_status
    namespaces = list(_pinned()) if options.all else [options.netns or netns.inode()]
    if not namespaces:
        write_line(f"nothing is pinned below {bpffs.PINS}")
    done = [_unloaded(namespace, stop=options.stop) for namespace in namespaces]
    if options.all and all(done):
        with suppress(OSError):
            bpffs.PINS.rmdir()
    return 0 if all(done) else FAILED


def _pinned() -> Iterator[int]:
    """Yield the namespaces for which there is something, half made things included."""
    with suppress(FileNotFoundError):
        names = {entry.name.removesuffix("-new") for entry in bpffs.PINS.iterdir()}
        yield from sorted(number for name in names if (number := bpffs.netns_of(name)) is not None)


def _unloaded(namespace: int, *, stop: bool) -> bool:
    try:
        if stop:
            _stop(namespace)
        lock = InstanceLock(namespace)
    except AlreadyRunningError as problem:
        say(f"unload: {problem}, or say --stop")
        return False
    except (ControlError, OSError) as problem:
        say(f"unload: {problem}")
        return False
    try:
        return _removed(namespace)
    finally:
        lock.release()


def _removed(namespace: int) -> bool:
    place = bpffs.PINS / bpffs.folder_name(namespace)
    try:
        was_there = remove_pins(place)
    except (BpfError, OSError) as problem:
        say(f"unload: {place} cannot be removed: {problem}")
        return False
    done = "removed what was pinned" if was_there else "nothing is pinned"
    write_line(f"{done} for network namespace net:[{namespace}]")
    return True


def _stop(namespace: int) -> None:
    """Stop the daemon, if one runs."""
    try:
        InstanceLock(namespace).release()
    except AlreadyRunningError:
        with Client(Path(socket_path(namespace))) as client:
            stop_daemon(client, _STOP_TIMEOUT_S)
