"""Containers as engines lay them: a bridge on the client, veth pairs, overlays, masquerading.

Made from what the kernel has, without any engine: each container has a network namespace of its
own, its processes a mount namespace whose root is an overlay, and a cgroup that is called what
Docker, Podman or a kubelet would call it.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from nfsnitch.lab import cgroups
from nfsnitch.lab.process import Child, found
from nfsnitch.lab.waiting import LabError
from nfsnitch.lab.world import CLIENT, PROGRAM_ENV, World

_TIMEOUT_S = 20
_EXECUTABLE = 0o755
_LIBRARIES = ("lib", "lib32", "lib64", "libx32", "bin", "sbin")
_ENTER = """
set -e
mount --bind "$1" "$1"
cd "$1"
mount --rbind /usr usr
mount --rbind /dev dev
mount -t proc proc proc
pivot_root . .old
umount -l /.old
shift
exec "$@"
"""
"""Takes on the root directory $1, as container engines do, and becomes the program behind it."""


@dataclass(frozen=True, slots=True)
class Container:
    """A namespace on the bridge, with a root directory of its own."""

    host: str
    """What the lab calls its network namespace."""
    ifindex: int
    """Of its veth end on the bridge."""
    cgroup: Path
    root: Path
    """Its root directory as the machine sees it: an overlay."""


class ContainerNetwork:
    """A bridge in the client's network namespace, and what hangs on it."""

    def __init__(
        self, world: World, bridge: str = "br0", prefix4: str = "10.88.0", prefix6: str = "fd00:88"
    ) -> None:
        """Use the networks *prefix4*.0/24 and *prefix6*::/64; the bridge has their address 1."""
        self.bridge = bridge
        self._world = world
        self._prefix4, self._prefix6 = prefix4, prefix6
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Build it: forwarding, bridge and masquerading."""
        settings = ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        self._in(CLIENT, "sysctl", "-qw", *settings)
        self._in(CLIENT, "ip", "link", "add", self.bridge, "type", "bridge")
        for address in (f"{self._prefix4}.1/24", f"{self._prefix6}::1/64"):
            nodad = ("nodad",) if ":" in address else ()
            self._in(CLIENT, "ip", "address", "add", address, "dev", self.bridge, *nodad)
        self._in(CLIENT, "ip", "link", "set", self.bridge, "up")
        self._in(CLIENT, "nft", self._masquerading())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take the overlays away; the rest goes with the world."""
        self._stack.__exit__(kind, error, traceback)

    def add(self, name: str, cgroup: Path, number: int) -> Container:
        """Make a container with the addresses *number* in both networks, in a cgroup like that."""
        netns = self._world.run_name.netns(name)
        _run("ip", "netns", "add", netns)
        self._make_cgroup(cgroup)
        port = f"v{name}"
        pair = ("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", netns)
        self._in(CLIENT, "ip", *pair)
        self._in(CLIENT, "ip", "link", "set", port, "master", self.bridge, "up")
        self._in(name, "ip", "link", "set", "lo", "up")
        self._in(name, "ip", "link", "set", "eth0", "up")
        self._in(name, "ip", "address", "add", f"{self._prefix4}.{number}/24", "dev", "eth0")
        six = f"{self._prefix6}::{number}/64"
        self._in(name, "ip", "address", "add", six, "dev", "eth0", "nodad")
        for gateway in (f"{self._prefix4}.1", f"{self._prefix6}::1"):
            self._in(name, "ip", "route", "add", "default", "via", gateway)
        shown = self._in(CLIENT, "cat", f"/sys/class/net/{port}/ifindex", sysfs=True)
        return Container(name, int(shown), cgroup, self._overlay(name))

    def start(
        self,
        container: Container,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        fds: Mapping[int, int] | None = None,
        cgroup: Path | None = None,
    ) -> Child:
        """Start a program inside, where ``argv[0]`` is a path of the container's."""
        inside = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _ENTER, "sh"]
        return self._world.spawn(
            [*inside, str(container.root), *argv],
            netns=container.host,
            cgroup=cgroup or container.cgroup,
            env=env,
            fds=fds,
        )

    def own_copy(self, container: Container, program: str, path: str) -> Path:
        """Put a program of this machine into the container; return where the machine sees it."""
        place = container.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found(program, PROGRAM_ENV), place)
        place.chmod(_EXECUTABLE)
        return place

    def _make_cgroup(self, cgroup: Path) -> None:
        new = [each for each in (cgroup, *cgroup.parents) if not each.exists()]
        cgroups.make(cgroup)
        for above in reversed(new[1:]):
            self._stack.callback(_remove_empty, above)
        self._stack.callback(cgroups.remove, cgroup)

    def _overlay(self, name: str) -> Path:
        folder = self._world.folder / f"overlay-{name}"
        lower, upper, work, merged = (folder / part for part in ("l", "u", "w", "merged"))
        for layer in (lower, upper, work, merged):
            layer.mkdir(parents=True)
        for part in ("usr", "dev", "proc", "tmp", ".old"):
            (lower / part).mkdir()
        for part in _LIBRARIES:
            (lower / part).symlink_to(f"usr/{part}")
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        _run("mount", "-t", "overlay", "overlay", "-o", options, str(merged))
        self._stack.callback(_run, "umount", "-l", str(merged))
        return merged

    def _masquerading(self) -> str:
        return (
            f"table inet lab_{self.bridge} {{ "
            "chain post { type nat hook postrouting priority 100; "
            f"ip saddr {self._prefix4}.0/24 oifname eth0 masquerade; "
            f"ip6 saddr {self._prefix6}::/64 oifname eth0 masquerade; }}; }}"
        )

    def _in(self, host: str, *command: str, sysfs: bool = False) -> str:
        """Run a command in a host's network namespace; *sysfs*: with /sys as it is there."""
        if sysfs:
            return _run("ip", "netns", "exec", self._world.run_name.netns(host), *command)
        return _run("nsenter", f"--net={self._world.netns(host)}", *command)


def _remove_empty(cgroup: Path) -> None:
    with suppress(OSError):  # another run has made something in it meanwhile
        cgroup.rmdir()


def _run(*command: str) -> str:
    done = subprocess.run(command, text=True, capture_output=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
