"""Ways that differ in what program it is that sends."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ways.sockets import words
from ways.stage import COUNT, PORT, Place, Sent, Stage, Way

_NOBODY = 65_534
_SETUID = 0o4755
_EXECUTABLE = 0o755

_SENDS_AS_WAY_DOES = """
import ipaddress, os, socket, sys
first, count, port = ipaddress.ip_address(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
file = os.stat("/proc/self/exe")
self = f"{os.getpid()} {os.getpid()} {file.st_dev} {file.st_ino} {os.readlink('/proc/self/exe')}"
for number in range(count):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"nfsnitch", (str(first + number), port))
        print(first + number, self, flush=True)
"""
_FROM_MEMORY = """
import os, sys
memory = os.memfd_create("way", 0)
with open(sys.argv[1], "rb") as program:
    os.sendfile(memory, program.fileno(), 0, os.fstat(program.fileno()).st_size)
os.execv(f"/proc/self/fd/{memory}", sys.argv[1:])
"""


def _sends(place: Place) -> list[str]:
    return words("udp-sendto", place)


def _unlinked(stage: Stage, place: Place) -> Sent:
    return Sent(stage.run([stage.copy(), "--unlink", *_sends(place)]))


def _replaced(stage: Stage, place: Place) -> Sent:
    newer = stage.copy("newer")
    return Sent(stage.run([stage.copy(), "--replace", newer, *_sends(place)]))


def _from_memory(stage: Stage, place: Place) -> Sent:
    argv: list[str | Path] = [
        "python3",
        "-I",
        "-S",
        "-c",
        _FROM_MEMORY,
        stage.copy(),
        *_sends(place),
    ]
    return Sent(stage.run(argv), exe="?it is /memfd:way, which is in no directory")


def _setuid(stage: Stage, place: Place) -> Sent:
    own = stage.copy()
    own.chmod(_SETUID)
    return Sent(stage.run([own, *_sends(place)], uid=_NOBODY), uid=0)


def _script(first_line: str) -> Callable[[Stage, Place], Sent]:
    def send(stage: Stage, place: Place) -> Sent:
        script = stage.copy("script")
        script.write_text(f"#!{first_line}\n{_SENDS_AS_WAY_DOES}", encoding="utf-8")
        argv: list[str | Path] = [script, place.ipv4, str(COUNT), str(PORT)]
        return Sent(stage.run(argv), script=str(script))

    return send


def _module(stage: Stage, place: Place) -> Sent:
    module = stage.copy().with_name("sender.py")
    module.write_text(_SENDS_AS_WAY_DOES, encoding="utf-8")
    argv = ["python3", "-m", "sender", place.ipv4, str(COUNT), str(PORT)]
    return Sent(stage.run(argv, env={"PYTHONPATH": str(module.parent)}))


def _in_other_root(stage: Stage, place: Place) -> Sent:
    own = stage.copy()
    return Sent(stage.run(["chroot", own.parent, "/way", *_sends(place)]), exe=str(own))


def _in_own_namespaces(*options: str) -> Callable[[Stage, Place], Sent]:
    def send(stage: Stage, place: Place) -> Sent:
        return Sent(stage.run(["unshare", *options, stage.copy(), *_sends(place)]))

    return send


def _on_overlay(stage: Stage, place: Place) -> Sent:
    lower = stage.copy().parent
    folders = {name: lower.with_name(f"{lower.name}-{name}") for name in ("upper", "work", "whole")}
    store = lower.with_name(f"{lower.name}-store")
    store.mkdir()
    stage.mount("-t", "tmpfs", "none", store)  # not every file system can be the upper one
    for name in ("upper", "work"):
        folders[name] = store / name
    for folder in folders.values():
        folder.mkdir()
    options = f"lowerdir={lower},upperdir={folders['upper']},workdir={folders['work']}"
    stage.mount("-t", "overlay", "none", "-o", options, folders["whole"])
    own = folders["whole"] / "way"
    return Sent(stage.run([own, *_sends(place)]), exe=str(own))


_BTRFS_BYTES = 256 << 20


def _on_btrfs(stage: Stage, place: Place) -> Sent:
    """Run a program that lies in a subvolume, which has a device number of its own."""
    own = stage.copy()
    disk, folder = own.with_name("disk"), own.with_name("btrfs")
    disk.touch()
    os.truncate(disk, _BTRFS_BYTES)
    folder.mkdir()
    stage.tool(["mkfs.btrfs", "--quiet", disk])
    stage.mount("-o", "loop", disk, folder)
    stage.tool(["btrfs", "subvolume", "create", folder / "volume"])
    moved = folder / "volume" / "way"
    moved.write_bytes(own.read_bytes())
    moved.chmod(_EXECUTABLE)
    return Sent(stage.run([moved, *_sends(place)]), exe=str(moved))


def _deep(stage: Stage, folders: int) -> str:
    """Put the program below so many folders with names of 200 bytes."""
    own = stage.copy()
    path = own.parent
    for _ in range(folders):
        path /= "x" * 200
    path.mkdir(parents=True)
    return str(own.rename(path / "way"))


def _deep_down(stage: Stage, place: Place) -> Sent:
    return Sent(stage.run(["way", *_sends(place)], exe=_deep(stage, 2)))


def _deeper(stage: Stage, place: Place) -> Sent:
    argv = ["way", *words("udp-sendto", place, "--wait", "--stay")]
    stage.start_waiting("deeper", argv, exe=_deep(stage, 6))
    return Sent(stage.let_go("deeper", COUNT))


WAYS = (
    Way("setuid", "setuid program, run by another user", _setuid),
    Way("deleted", "executable deleted while it runs", _unlinked),
    Way("replaced", "executable replaced while it runs", _replaced),
    Way("memfd", "executable in memory (memfd)", _from_memory),
    Way("script", "script by `#!`", _script("/usr/bin/python3 -I")),
    Way("env", "script by `#!/usr/bin/env`", _script("/usr/bin/env python3")),
    Way("module", "`python3 -m`", _module),
    Way("chroot", "program in another root (`chroot`)", _in_other_root),
    Way("pid-namespace", "own PID namespace", _in_own_namespaces("--pid", "--fork")),
    Way(
        "user-namespace",
        "own user and mount namespace",
        _in_own_namespaces("--map-root-user", "--mount"),
    ),
    Way("overlay", "executable on overlayfs", _on_overlay, needs="overlayfs"),
    Way("btrfs", "executable in a btrfs subvolume", _on_btrfs, needs="btrfs"),
    Way("long-path", "path of more than 256 bytes", _deep_down),
    Way("longer-path", "path of more than 1,024 bytes, while the program runs", _deeper),
)
