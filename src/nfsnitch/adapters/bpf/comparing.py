"""What eBPF has recorded of a process, held against what this system's files and /proc say."""

from __future__ import annotations

from nfsnitch.adapters import procfs
from nfsnitch.adapters.bpf.layout import Image
from nfsnitch.adapters.mounts import Mounts
from nfsnitch.core.owner import Process
from nfsnitch.core.text import encoded
from nfsnitch.core.unknown import Unknown


def same_file(path: str, image: Image, mounted: Mounts) -> str | Unknown:
    """Return the *path* of an image in its mount namespace, if it is the same file in ours."""
    file = mounted.file_at(encoded(path))
    if file is not None and (file.st_dev, file.st_ino) == (image.exe_device, image.exe_inode):
        return path
    if not image.mntns:
        return Unknown(f"it is {path}, which is in no directory of any mount namespace")
    return Unknown(f"in a mount namespace of its own it is {path}, which is another file here")


def same_in_proc(found: Process) -> Process | None:
    """Return what /proc says of a process, if that is still the same one and runs the same file."""
    seen = procfs.process(found.pid)
    if isinstance(seen, Unknown):
        return None
    if not procfs.is_same_start(found.start_time_ns, seen.start_time_ns):
        return None
    # Without knowing which file it ran, it may have become another program since.
    return seen if found.exe.inode == seen.exe.inode else None
