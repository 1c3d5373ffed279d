"""The helper process of the bcc loader: compiles, and loads what it is asked for.

``python -m nfsnitch.adapters.bpf.bcc_helper SOCKET OBJECT SOURCES``, where SOCKET is the number of
a descriptor that the process was born with, one end of a pair of ``SOCK_SEQPACKET``. Each message
is an object in JSON; descriptors go along with it (SCM_RIGHTS, unix(7)).

1. The helper compiles, and says ``{"ready": SECONDS}``.
2. ``{"load": [PROGRAM, …], "maps": [NAME, …]}`` asks for programs, with descriptors of maps to use
   in place of new ones of these names (none: all are made). It answers ``{"maps": [NAME, …],
   "programs": [NAME, …]}``, with a descriptor for each.
3. ``{"error": TEXT}`` is the answer when something went wrong.

It ends when the other end is closed, and when its parent does.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

from nfsnitch.adapters import privileges
from nfsnitch.adapters.bpf import bcc_compiler, object_file, raw_load
from nfsnitch.adapters.bpf.libbpf import BpfError, Libbpf
from nfsnitch.adapters.bpf.linking import LinkError
from nfsnitch.adapters.bpf.wire import receive, send

_TEXT_BYTES = 16_000
_MEMORY_BYTES = 2 << 30
_PR_SET_PDEATHSIG = 1

NEEDED = {
    privileges.Capability.CAP_BPF,
    privileges.Capability.CAP_PERFMON,
    privileges.Capability.CAP_NET_ADMIN,
}
"""What loading takes; compiling takes nothing but files that anybody may read."""


def main() -> None:
    """Serve until the other end is closed."""
    number, object_path, sources = sys.argv[1:]
    with socket.socket(fileno=int(number)) as connection:
        _die_with_parent()
        _give_up()
        try:
            _serve(connection, Path(object_path), Path(sources))
        except BpfError as problem:
            _answer(connection, {"error": _cut(str(problem))}, ())


def _die_with_parent() -> None:
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it was quicker
        os._exit(1)


def _give_up() -> None:
    """Keep what loading takes; a compiler that goes wild gets no more memory than so much."""
    privileges.keep_only(NEEDED)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _serve(connection: socket.socket, object_path: Path, sources: Path) -> None:
    library = Libbpf()
    with object_file.opened(library, object_path) as opened:
        began_s = time.monotonic()
        worker = _Worker(library, opened, sources)
        _answer(connection, {"ready": round(time.monotonic() - began_s, 1)}, ())
        while True:
            message, descriptors = receive(connection)
            if message is None:
                return
            given = dict(zip(message.get("maps", []), descriptors, strict=True))
            try:
                worker.load(connection, message["load"], given)
            except BpfError as problem:
                _answer(connection, {"error": _cut(str(problem))}, ())
            finally:
                raw_load.close_all(descriptors)


class _Worker:
    """What is compiled."""

    def __init__(self, library: Libbpf, opened: object_file.ObjectFile, sources: Path) -> None:
        self._library = library
        self._maps = list(opened.maps())
        self._programs = {each.name: each for each in opened.programs()}
        functions = opened.functions()
        words = bcc_compiler.Words(
            [each.name for each in self._maps],
            list(self._programs),
            {
                name: function.arguments
                for name, function in functions.items()
                if name not in self._programs
            },
        )
        self._compiled = bcc_compiler.compiled(sources, words)
        ids = {name: function.type_id for name, function in functions.items()}
        self._types = raw_load.Types(opened.types_fd(), ids)

    def load(self, connection: socket.socket, wanted: list[str], given: Mapping[str, int]) -> None:
        """Load programs and hand over their descriptors and those of all maps."""
        with ExitStack() as stack:
            maps = dict(given)
            for spec in self._maps:
                if spec.name not in given:
                    maps[spec.name] = raw_load.make_map(self._library, spec)
                    stack.callback(os.close, maps[spec.name])
            programs = {}
            for name in wanted:
                programs[name] = self._loaded(name, [maps[each.name] for each in self._maps])
                stack.callback(os.close, programs[name])
            names = {"maps": list(maps), "programs": list(programs)}
            _answer(connection, names, (*maps.values(), *programs.values()))

    def _loaded(self, name: str, map_fds: list[int]) -> int:
        try:
            program = self._compiled.subprograms.linked(self._compiled.programs[name], map_fds)
        except LinkError as problem:
            raise BpfError(
                f"what bcc has compiled of {name} cannot be used: {problem}"
            ) from problem
        return raw_load.load(self._library, self._programs[name], program, self._types)


def _answer(connection: socket.socket, message: object, descriptors: Iterable[int]) -> None:
    try:
        send(connection, message, descriptors)
    except OSError:
        sys.exit(1)  # whoever asked is gone


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT_BYTES else f"{text[:_TEXT_BYTES]}\n…"


if __name__ == "__main__":
    main()
