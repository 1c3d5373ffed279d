"""Programs that find their names by the server of the lab, and by nothing of this machine's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nfsnitch.lab.world import World

RESOLVER = "192.0.2.1"
"""The server of `namespaces.CLIENT_AND_SERVER`, where `services` starts dnsmasq."""
_FILES = {
    "/etc/resolv.conf": "nameserver {resolver}\noptions timeout:5 attempts:2\n",
    "/etc/nsswitch.conf": "hosts: dns\n",
}
# In a mount namespace of its own; $1 and on: pairs of files, then -- and the program.
_ENTER = 'while [ "$1" != -- ]; do mount --bind "$1" "$2" || exit 125; shift 2; done; exec "${@:2}"'


def resolver_files(world: World, resolver: str = RESOLVER) -> Mapping[str, str]:
    """Return path of a file → what to have there to find names by the server at *resolver*."""
    files: dict[str, str] = {}
    for place, text in _FILES.items():
        file = world.folder / f"{Path(place).name}-{resolver.replace(':', '.')}"
        if not file.exists():
            file.write_text(text.format(resolver=resolver), encoding="ascii")
        files[place] = str(file)
    return files


def resolving(world: World, argv: Sequence[str], resolver: str = RESOLVER) -> list[str]:
    """Return the command that runs *argv* with names found by the server at *resolver* alone.

    The program is *argv*'s own: what stands before it replaces itself by it.
    """
    files = resolver_files(world, resolver)
    pairs = [path for place, file in files.items() for path in (file, place)]
    enter = ["unshare", "--mount", "--propagation", "private", "bash", "-c", _ENTER, "enter"]
    return [*enter, *pairs, "--", *argv]
