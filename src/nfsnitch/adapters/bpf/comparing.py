"""What eBPF has recorded of a process, held against what this system's files and /proc say."""

from __future__ import annotations

from nfsnitch.adapters import procfs
from nfsnitch.adapters.bpf.layout import Image, ImageKey
from nfsnitch.adapters.host_paths import HostPaths, Program
from nfsnitch.core.owner import Executable, Process
from nfsnitch.core.unknown import Unknown


def executable(image: Image, key: ImageKey, own_mntns: int, host_paths: HostPaths) -> Executable:
    """Return the file of an image as this system sees it, and as its process does."""
    path, device, inode = image.exe, image.exe_device, image.exe_inode
    if image.mntns == own_mntns or isinstance(path, Unknown):
        return Executable(path, device, inode, image.exe_deleted)
    here = None
    if not isinstance(device, Unknown) and not isinstance(inode, Unknown):
        here = host_paths.find(Program(path, image.mntns, device, inode, key.pid, key.start_ns))
    if here == path:
        return Executable(path, device, inode, image.exe_deleted)
    outside = _found_nowhere(path, image) if here is None else here
    return Executable(outside, device, inode, image.exe_deleted, path)


def _found_nowhere(path: str, image: Image) -> Unknown:
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
