"""``nfsnitch owners``: who owns which open socket, as eBPF has recorded it."""

from __future__ import annotations

import argparse
import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO

from nfsnitch.adapters import sock_diag
from nfsnitch.adapters.bpf import bpffs
from nfsnitch.adapters.bpf.owner_list import OwnedSocket, open_sockets
from nfsnitch.adapters.bpf.readers import LISTED, OtherLayoutError, reader_file
from nfsnitch.adapters.sock_diag import ListedSocket
from nfsnitch.commands.asking import (
    INTERRUPTED,
    Daemon,
    add_daemon_options,
    daemon_of,
    say,
    write_line,
)
from nfsnitch.commands.record_line import program_and_user
from nfsnitch.control_client import Client, ControlError, NotRunningError
from nfsnitch.core.flow import PROTOCOL_NAMES, address_text
from nfsnitch.core.record import owner_json
from nfsnitch.protocol import Owners, OwnersRequest

_RAW = 255
"""What sock_diag(7) has for raw sockets in place of a protocol."""
_PROTO_COLUMNS, _PLACE_COLUMNS = 8, 48


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what the command line understands."""
    parser.description = (
        "List the open sockets whose owner has been recorded (root, and members of the daemon's "
        "group; no capability is needed). After a crash it works without a daemon. Addresses are "
        "those of sockets in this network namespace. Exit status 3 if nobody records."
    )
    add_daemon_options(parser)
    parser.add_argument("--json", action="store_true", help="a JSON object for each socket")
    parser.set_defaults(command=_owners)


def _owners(options: argparse.Namespace) -> int:
    daemon = daemon_of(options)
    try:
        with ExitStack() as stack:
            files = _opened(daemon, stack)
            places = {}
            if daemon.is_here or daemon.netns is None:
                places = {each.cookie: each for each in sock_diag.every_socket()}
            for owned in open_sockets(files["owners"], files["images"]):
                place = places.get(owned.cookie)
                fields = {**socket_json(owned, place), **owner_json(owned.owner)}
                line = json.dumps(fields) if options.json else socket_line(fields)
                if not write_line(line):
                    break
    except ControlError as error:
        say(str(error))
        return error.exit_status
    except (OtherLayoutError, OSError) as error:
        say(f"owners: {error}")
        return ControlError.exit_status
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def socket_json(owned: OwnedSocket, place: ListedSocket | None) -> dict[str, Any]:
    """Return what is told of the socket itself; without a *place* there are no addresses."""
    fields: dict[str, Any] = {"sock_cookie": owned.cookie, "netns": owned.owner.netns}
    if place is None:
        return fields
    fields["proto"] = "raw" if place.proto == _RAW else PROTOCOL_NAMES.get(place.proto, place.proto)
    fields["saddr"] = _address(place.family, place.saddr)
    fields["daddr"] = _address(place.family, place.daddr)
    if place.proto == _RAW:
        return {**fields, "ip_proto": place.sport}
    return {**fields, "sport": place.sport, "dport": place.dport}


def socket_line(fields: dict[str, Any]) -> str:
    """Return a socket as a line for people; hostile text is made harmless."""
    proto = str(fields.get("proto", "-"))
    if "saddr" not in fields:
        where = f"socket {fields['sock_cookie']}"
    elif "ip_proto" in fields:
        where = f"{fields['saddr']} protocol {fields['ip_proto']}"
    else:
        where = _end(fields["saddr"], fields["sport"])
        if fields["dport"]:
            where += f" → {_end(fields['daddr'], fields['dport'])}"
    return f"{proto:<{_PROTO_COLUMNS}}{where:<{_PLACE_COLUMNS}}{program_and_user(fields)}"


def _end(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _address(family: int, packed: bytes) -> str:
    return address_text(packed[: 4 if family == socket.AF_INET else 16])


def _opened(daemon: Daemon, stack: ExitStack) -> dict[str, BinaryIO]:
    """Open what lists the maps: where it is pinned, or by the daemon's leave.

    Not everybody may go through /sys/fs/bpf; the daemon hands the files over.

    Raises:
        ControlError: neither can be had.

    """
    with suppress(OSError):
        return dict(_pinned(daemon, stack))
    client = stack.enter_context(_client(daemon))
    names = client.ask(OwnersRequest(), Owners).files
    files = dict(zip(names, client.take_files(), strict=False))
    if not set(LISTED) <= set(files):
        raise ControlError("the daemon did not hand over what lists owners")
    return {name: stack.enter_context(os.fdopen(fd, "rb")) for name, fd in files.items()}


def _pinned(daemon: Daemon, stack: ExitStack) -> Iterator[tuple[str, BinaryIO]]:
    if daemon.netns is None:
        raise FileNotFoundError
    bpffs.check_own()
    place = bpffs.PINS / bpffs.folder_name(daemon.netns)
    for name in LISTED:
        yield name, stack.enter_context(reader_file(place, name).open("rb"))


def _client(daemon: Daemon) -> Client:
    try:
        return Client(Path(daemon.path))
    except NotRunningError as error:
        text = f"{error}; and nothing that this user may read is pinned below {bpffs.PINS}"
        raise NotRunningError(text) from error
