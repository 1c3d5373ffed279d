"""The bcc loader: programs compiled at the start, by another process, for the running kernel.

bcc and its LLVM take 200 MB and some seconds, and a compiler reads a thousand files; so that is
done by `bcc_helper`, which hands over descriptors and ends. What it may cost is limited here: its
time, and that it never outlives whoever asked.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import nfsnitch
from nfsnitch.adapters.bpf import hook, kernel_headers, object_file, raw_load, wire
from nfsnitch.adapters.bpf.core_loader import (
    Attachment,
    Filter,
    HeldLink,
    LoadedPrograms,
    filters_among,
)
from nfsnitch.adapters.bpf.layout import RING_BUFFERS, SIZES
from nfsnitch.adapters.bpf.libbpf import BpfError, Libbpf
from nfsnitch.adapters.bpf.map import BpfMap
from nfsnitch.core.attach import AttachMode

COMPILE_TIMEOUT_S = 600.0
"""It is some seconds; but minutes where the processor is emulated, or has much else to do."""
LOAD_TIMEOUT_S = 120.0
_END_TIMEOUT_S = 5.0
_MODULE = "nfsnitch.adapters.bpf.bcc_helper"
_ENVIRONMENT = ("PATH", "LANG", "TMPDIR", kernel_headers.ELSEWHERE, "CACHE_DIRECTORY")
"""What the helper is given of our environment."""

_log = logging.getLogger(__name__)


class Descriptors(NamedTuple):
    """What has been loaded; whoever has it closes it."""

    maps: dict[str, int]
    programs: dict[str, int]

    def close(self) -> None:
        """Close all of them."""
        raw_load.close_all((*self.maps.values(), *self.programs.values()))


class Helper:
    """The helper process, from `started` on."""

    def __init__(self, process: subprocess.Popen[bytes], connection: socket.socket) -> None:
        self._process = process
        self._connection = connection

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    def wait_until_ready(self, timeout_s: float = COMPILE_TIMEOUT_S) -> None:
        """Wait until all is compiled.

        Raises:
            BpfError: it could not be, or takes too long.

        """
        message, _ = self._answer("compiling the eBPF programs", timeout_s)
        _log.info("the eBPF programs were made for this kernel in %s s", message.get("ready"))

    def load(
        self,
        programs: Iterable[str],
        maps: Mapping[str, int] | None = None,
        timeout_s: float = LOAD_TIMEOUT_S,
    ) -> Descriptors:
        """Have programs loaded with new maps, but for those in *maps*, which are used as they are.

        Raises:
            BpfError: the kernel refused, or the helper does not answer.

        """
        given = dict(maps or {})
        request = {"load": list(programs), "maps": list(given)}
        try:
            wire.send(self._connection, request, given.values())
        except OSError as problem:
            raise self._gone("loading the eBPF programs") from problem
        answer, descriptors = self._answer("loading the eBPF programs", timeout_s)
        names = [*answer.get("maps", []), *answer.get("programs", [])]
        if len(names) != len(descriptors):
            raw_load.close_all(descriptors)
            raise BpfError(f"the bcc helper sent {len(descriptors)} descriptors for {len(names)}")
        count = len(answer["maps"])
        return Descriptors(
            dict(zip(names[:count], descriptors[:count], strict=True)),
            dict(zip(names[count:], descriptors[count:], strict=True)),
        )

    def _answer(self, doing: str, timeout_s: float) -> tuple[dict[str, Any], list[int]]:
        self._connection.settimeout(timeout_s)
        try:
            message, descriptors = wire.receive(self._connection)
        except TimeoutError as problem:
            raise BpfError(f"{doing}: bcc was not done after {timeout_s:g} s") from problem
        except (OSError, ValueError) as problem:
            raise BpfError(f"{doing}: the bcc helper does not answer: {problem}") from problem
        if message is None:
            raise self._gone(doing)
        if "error" in message:
            raw_load.close_all(descriptors)
            raise BpfError(str(message["error"]))
        return message, descriptors

    def _gone(self, doing: str) -> BpfError:
        """Return what to say when it has ended."""
        try:
            status = self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return BpfError(f"{doing}: the bcc helper has closed its connection")
        how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
        return BpfError(f"{doing}: the bcc helper {how}")


@contextmanager
def started(object_file_path: Path, sources: Path) -> Iterator[Helper]:
    """Start the helper; it has ended when the `with` block has.

    Raises:
        BpfError: the kernel's headers are missing.

    """
    kernel_headers.found()  # told at once, without a process
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with its:
            process = subprocess.Popen(
                _command(its.fileno(), object_file_path, sources),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(its.fileno(),),
                start_new_session=True,  # Ctrl-C is for the daemon, which ends it
                env=_environment(),
            )
        try:
            yield Helper(process, ours)
        finally:
            ours.close()  # asks it to end
            _ended(process)


def _command(fd: int, object_file_path: Path, sources: Path) -> list[str]:
    # -P: nothing in the working directory is run
    return [sys.executable, "-P", "-m", _MODULE, str(fd), str(object_file_path), str(sources)]


def _environment() -> dict[str, str]:
    chosen = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    return {**chosen, "PYTHONPATH": str(Path(nfsnitch.__file__).absolute().parents[1])}


def _ended(process: subprocess.Popen[bytes]) -> None:
    """Let it end by itself if it can; a compiler that is busy does not listen."""
    try:
        process.wait(0.5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def loaded(
    helper: Helper,
    object_file_path: Path,
    mode: AttachMode,
    attachments: Sequence[Attachment],
    cgroup: Path | None,
) -> Iterator[LoadedPrograms]:
    """Load the programs of *attachments* and attach them in this order; detach them at the end.

    As `core_loader.loaded`, but that the programs come from *helper*.

    Raises:
        BpfError: the kernel refused a program or an attachment, or what was compiled is of another
            layout than this code.

    """
    library = Libbpf()
    with ExitStack() as stack:
        with object_file.opened(library, object_file_path) as opened:
            specs = {each.name: each for each in opened.programs()}
            _compare_layouts({each.name: each for each in opened.maps()})
        descriptors = helper.load(dict.fromkeys(each.program for each in attachments))
        stack.callback(descriptors.close)
        links: list[HeldLink] = []
        for attachment in attachments:
            spec, fd = specs[attachment.program], descriptors.programs[attachment.program]
            if attachment.for_netfilter:
                links.append(Filter(fd, spec.name))
                continue
            for link in _attached(library, spec, fd, attachment, cgroup):
                links.append(link)
                stack.callback(link.detach)
        maps: dict[str, Any] = {
            name: BpfMap(library, descriptors.maps[name], *sizes) for name, sizes in SIZES.items()
        }
        rings: dict[str, Any] = {
            field: descriptors.maps[name] for field, name in RING_BUFFERS.items()
        }
        how: dict[str, Any] = {"library": library, "mode": mode, "why": ""}
        held: dict[str, Any] = {"links": tuple(links), "filters": filters_among(links)}
        yield LoadedPrograms(**maps, **rings, **how, **held)


def _attached(
    library: Libbpf,
    spec: object_file.ProgramSpec,
    fd: int,
    attachment: Attachment,
    cgroup: Path | None,
) -> Iterator[hook.Hooked]:
    if attachment.of_libc:
        yield from hook.on_libc(library, spec, fd, attachment.of_libc)
        return
    if not attachment.to_cgroup:
        yield from hook.on_kernel(library, spec, fd, attachment.functions)
        return
    if cgroup is None:
        raise BpfError(f"attaching {spec.name}: no cgroup was named")
    try:
        directory = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as problem:
        raise BpfError(f"the cgroup cannot be opened: {problem}") from problem
    try:
        yield hook.on_cgroup(library, spec, fd, directory)
    finally:
        os.close(directory)


def _compare_layouts(specs: Mapping[str, object_file.MapSpec]) -> None:
    for name, sizes in SIZES.items():
        there = (specs[name].key_bytes, specs[name].value_bytes) if name in specs else None
        if there != sizes:
            raise BpfError(
                f"map {name} has keys and values of {there} bytes, this program expects {sizes}: "
                "the eBPF object is of another version; build it again (make setup)"
            )
