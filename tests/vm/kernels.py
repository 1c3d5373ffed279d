"""The kernels to boot, as scripts/vm-kernels has unpacked them, and how to get one going."""

from __future__ import annotations

import lzma
import os
import shlex
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

LINES = ("6.1", "6.12")
"""The kernel lines that the tests are run on (scripts/vm-kernels fetches these)."""
_FIRST_MODULES = ("virtio_pci", "9pnet_virtio", "9p")
"""What a Debian kernel needs to see the host's files; newer ones have some of it built in."""
_STAT_REGULAR, _STAT_FOLDER = 0o100755, 0o040755


class NoKernelError(Exception):
    """There is no such kernel, or it lacks a module that is needed."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """One unpacked kernel package."""

    line: str
    """As in `LINES`."""
    version: str
    """As `uname -r` says it."""
    image: Path
    modules: Path
    """The folder that the guest is to find as /lib/modules/VERSION."""

    @classmethod
    def of(cls, line: str) -> Self:
        """Return the kernel of *line*; raise `NoKernelError` with what to do about it."""
        root = folder() / line
        for image in sorted((root / "boot").glob("vmlinuz-*")):
            version = image.name.removeprefix("vmlinuz-")
            return cls(line, version, image, root / "lib" / "modules" / version)
        raise NoKernelError(f"no kernel {line} below {root}")

    def first_modules(self) -> Iterator[tuple[str, bytes]]:
        """Yield name and contents of the modules to load before anything else, in that order."""
        needs = _needs((self.modules / "modules.dep").read_text(encoding="utf-8"))
        builtin = (self.modules / "modules.builtin").read_text(encoding="utf-8").split()
        there = {_module_name(path) for path in builtin}
        loaded: dict[str, None] = {}
        for name in _FIRST_MODULES:
            if name in there:
                continue
            path = next((path for path in needs if _module_name(path) == name), None)
            if path is None:
                raise NoKernelError(f"kernel {self.version} has no module {name}")
            # A module's line names the direct and the indirect ones; the last comes first.
            loaded |= dict.fromkeys((*reversed(needs[path]), path))
        for path in loaded:
            data = (self.modules / path).read_bytes()
            yield _module_name(path), lzma.decompress(data) if path.endswith(".xz") else data


def folder() -> Path:
    """Return the folder with a folder for each kernel line (as scripts/vm-kernels has it)."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache, "nfsnitch", "kernels")


def _module_name(path: str) -> str:
    return Path(path).name.partition(".")[0]


def _needs(modules_dep: str) -> dict[str, list[str]]:
    """Read modules.dep (see modules.dep(5)): a module's path, a colon, the paths that it needs."""
    lines = (line.partition(":") for line in modules_dep.splitlines())
    return {path: rest.split() for path, _, rest in lines}


_INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs none /dev
for module in /modules/*; do
    /bin/busybox insmod "$module"
done
options=trans=virtio,version=9p2000.L,msize=512000
/bin/busybox mount -t 9p -o "ro,$options,cache=loose" host /root
/bin/busybox mount -t 9p -o "rw,$options" share /root{share}
exec /bin/busybox switch_root /root {command}
echo "guest: there is no root file system"
"""
"""The root file system is the host's own; what a guest reads there is taken not to change."""


def initramfs(kernel: Kernel, share: Path, command: tuple[str, ...]) -> bytes:
    """Return the archive with which *kernel* mounts the host's files and becomes *command*.

    *share* is the one folder that the guest may write to; it has the same place in both.
    """
    busybox = shutil.which("busybox")
    if busybox is None:
        raise NoKernelError("there is no busybox: run scripts/setup --vm")
    init = _INIT.format(share=shlex.quote(str(share)), command=shlex.join(command))
    files = {
        "init": init.encode(),
        "bin/busybox": Path(busybox).read_bytes(),
    }
    for number, (name, data) in enumerate(kernel.first_modules()):
        files[f"modules/{number:02d}-{name}"] = data
    return cpio(("dev", "root", "bin", "modules"), files)


def cpio(folders: tuple[str, ...], files: Mapping[str, bytes]) -> bytes:
    """Return an archive in the format of Documentation/driver-api/early-userspace/buffer-format."""
    entries = [(name, _STAT_FOLDER, b"") for name in folders]
    entries += [(name, _STAT_REGULAR, data) for name, data in files.items()]
    entries.append(("TRAILER!!!", 0, b""))
    archive = bytearray()
    for inode, (name, mode, data) in enumerate(entries, 1):
        fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        archive += b"070701" + b"".join(b"%08x" % field for field in fields)
        archive += name.encode() + b"\0"
        archive += bytes(-len(archive) % 4)
        archive += data
        archive += bytes(-len(archive) % 4)
    return bytes(archive)
