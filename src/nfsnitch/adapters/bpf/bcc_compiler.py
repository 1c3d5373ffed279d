"""Has bcc compile bpf/ against the kernel's headers. Takes 200 MB: see `bcc_helper`."""

from __future__ import annotations

import ctypes
import importlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from nfsnitch.adapters.bpf import compiled_cache, kernel_headers
from nfsnitch.adapters.bpf.compiled_cache import Parts
from nfsnitch.adapters.bpf.libbpf import BpfError
from nfsnitch.adapters.bpf.linking import INSN, LinkError, Subprograms

NOT_INSTALLED = "bcc cannot be loaded: {}; install the package python3-bpfcc"

_SOURCE = "nfsnitch.bpf.c"
_SUBPROGRAMS, _INDEX = "nfsnitch_subprograms", "nfsnitch_index"
_LOG_BYTES = 8_000


class Compiled(NamedTuple):
    """What came of it."""

    programs: dict[str, bytes]
    """By name: instructions, not linked yet."""
    subprograms: Subprograms


class Words(NamedTuple):
    """The names in the source, as the object has them that clang made of it."""

    maps: Sequence[str]
    programs: Sequence[str]
    subprograms: dict[str, int]
    """And how many arguments each takes."""


def compiled(sources: Path, words: Words) -> Compiled:
    """Compile the folder *sources*, unless that has been done before.

    Raises:
        BpfError: bcc or the kernel's headers are missing, or something does not compile; then the
            message has what the compiler says.

    """
    headers = kernel_headers.found()
    text = program_text(words)
    key = compiled_cache.key_of(f"{map_ids(words.maps)}{text}", sources, headers)
    try:
        parts = compiled_cache.find(key)
        if parts is None:
            parts = _parts(sources, headers, text, words)
            compiled_cache.keep(key, parts)
        return Compiled(parts.programs, _subprograms(parts, words))
    except LinkError as problem:
        raise BpfError(f"what bcc has compiled cannot be used: {problem}") from problem


def _subprograms(parts: Parts, words: Words) -> Subprograms:
    def read(place: int) -> bytes:
        return parts.section[place * INSN.size : (place + 1) * INSN.size]

    return Subprograms(read, parts.calls, list(words.subprograms))


def _parts(sources: Path, headers: Path, text: str, words: Words) -> Parts:
    try:
        bcc = importlib.import_module("bcc")
    except (ImportError, OSError) as problem:
        raise BpfError(NOT_INSTALLED.format(problem)) from problem
    with (
        kernel_headers.unpacked(headers) as unpacked,
        tempfile.TemporaryDirectory(prefix="nfsnitch-bcc-") as folder,
    ):
        if unpacked.name != "build":
            os.environ[kernel_headers.ELSEWHERE] = str(unpacked)
        Path(folder, "map_ids.h").write_text(map_ids(words.maps), "ascii")
        module = _module(bcc, text, [f"-I{folder}", f"-I{sources}", "-w"])
    code = {name: module.dump_func(f"{name}_".encode()) for name in words.programs}
    index = module.dump_func(_INDEX.encode())
    section: int = bcc.lib.bpf_function_start(module.module, _SUBPROGRAMS.encode())

    def read(place: int) -> bytes:
        return ctypes.string_at(section + place * INSN.size, INSN.size)

    end = Subprograms(read, index, list(words.subprograms)).end
    return Parts(code, b"".join(map(read, range(end))), index)


def map_ids(names: Sequence[str]) -> str:
    """Return map_ids.h: each name of a map becomes a place holder with the number of the map."""
    lines = (
        f"#define {name} (*(struct {{}} *)bpf_pseudo_fd(1, {number}))\n"
        for number, name in enumerate(names)
    )
    return "".join(lines)


def program_text(words: Words) -> str:
    """Return what bcc compiles: the source, and in it what makes its parts be found again.

    bcc hands out the functions of its main file alone, so each program gets one around it. One
    more, the first of all, begins the section of the subprograms; one calls these in their order.
    """
    lines = ["#define NFSNITCH_BCC", f"int {_SUBPROGRAMS}(void *ctx) {{ return 0; }}"]
    lines.append(f'#include "{_SOURCE}"')
    calls = (f"{name}({', '.join('0' * count)});" for name, count in words.subprograms.items())
    lines.append(f"int {_INDEX}(void *ctx) {{ {' '.join(calls)} return 0; }}")
    lines += [f"int {name}_(void *ctx) {{ return {name}(ctx); }}" for name in words.programs]
    return "\n".join(lines) + "\n"


def _module(bcc: Any, text: str, flags: list[str]) -> Any:  # noqa: ANN401
    with _standard_error() as said:
        try:
            return bcc.BPF(text=text, cflags=flags)
        except Exception as problem:
            lines = said.last().splitlines()
            words = "".join(f"\n    {line}" for line in lines)
            raise BpfError(
                f"bcc could not compile the eBPF programs for kernel {os.uname().release}: "
                f"{problem}{words}"
            ) from problem


class _Said:
    """What was written to the standard error."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def last(self) -> str:
        """Return the errors in it, else its end."""
        size = os.fstat(self._fd).st_size
        raw = os.pread(self._fd, size, 0).decode("utf-8", "backslashreplace")
        errors = [line for line in raw.splitlines() if "error:" in line]
        return "\n".join(errors[:12]) or raw[-_LOG_BYTES:]


@contextmanager
def _standard_error() -> Iterator[_Said]:
    """Catch what LLVM, which knows nothing of Python, writes to the descriptor itself."""
    before, memory = os.dup(2), os.memfd_create("said", os.MFD_CLOEXEC)
    os.dup2(memory, 2)
    try:
        yield _Said(memory)
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(memory)
