"""Makes maps and loads programs one by one, where there is no object that libbpf could load."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from struct import Struct
from typing import NamedTuple

from nfsnitch.adapters.bpf.libbpf import BpfError, Libbpf
from nfsnitch.adapters.bpf.linking import INSN, Program
from nfsnitch.adapters.bpf.object_file import MapSpec, ProgramSpec

_LICENCE = b"GPL"
_FUNC_INFO = Struct("=II")
"""``struct bpf_func_info``: where a function begins, in instructions, and its type."""
_LOG_BYTES = 1 << 20
_LOG_LINES = 12
_BY_TYPE = {24: "fentry", 27: "LSM"}
"""``enum bpf_attach_type`` of those that are attached to a function which the kernel describes."""


class _MapOptions(ctypes.Structure):
    """``struct bpf_map_create_opts``, as far as it is needed."""

    _fields_ = (
        ("size", ctypes.c_size_t),
        ("types", ctypes.c_uint32 * 5),
        ("flags", ctypes.c_uint32),
    )


class _LoadOptions(ctypes.Structure):
    """``struct bpf_prog_load_opts`` (libbpf 1.0)."""

    _fields_ = (
        ("size", ctypes.c_size_t),
        ("attempts", ctypes.c_int),
        ("attach_type", ctypes.c_uint32),
        ("types_fd", ctypes.c_uint32),
        ("unused", ctypes.c_uint32 * 3),
        ("attach_type_id", ctypes.c_uint32),
        ("attach_fds", ctypes.c_uint32 * 2),
        ("fd_array", ctypes.c_void_p),
        ("functions", ctypes.c_char_p),
        ("function_count", ctypes.c_uint32),
        ("function_bytes", ctypes.c_uint32),
        ("lines", ctypes.c_void_p),
        ("line_numbers", ctypes.c_uint32 * 2),
        ("log_level", ctypes.c_uint32),
        ("log_bytes", ctypes.c_uint32),
        ("log", ctypes.c_void_p),
    )


class Types(NamedTuple):
    """What the verifier is told of the functions, so that it checks global ones once."""

    fd: int
    function_ids: dict[str, int]


def make_map(library: Libbpf, spec: MapSpec) -> int:
    """Return the descriptor of a new map.

    Raises:
        BpfError: the kernel refused.

    """
    options = _MapOptions(size=ctypes.sizeof(_MapOptions), flags=spec.flags)
    descriptor: int = library.checked(
        "bpf_map_create",
        spec.kind,
        spec.name.encode(),
        spec.key_bytes,
        spec.value_bytes,
        spec.max_entries,
        ctypes.byref(options),
        doing=f"making the map {spec.name}",
    )
    return descriptor


def load(library: Libbpf, spec: ProgramSpec, program: Program, types: Types) -> int:
    """Return the descriptor of a newly loaded program.

    Raises:
        BpfError: the kernel refused; the message has the end of what the verifier said.

    """
    names = (spec.name, *program.names)
    functions = [
        _FUNC_INFO.pack(at, types.function_ids[name])
        for at, name in zip(program.functions, names, strict=True)
    ]
    options = _LoadOptions(
        size=ctypes.sizeof(_LoadOptions),
        attach_type=spec.attach_type,
        types_fd=types.fd,
        attach_type_id=_attach_type_id(library, spec),
        functions=b"".join(functions),
        function_count=len(functions),
        function_bytes=_FUNC_INFO.size,
    )
    descriptor = _try(library, spec, program, options)
    if descriptor >= 0:
        return descriptor
    # Again with the verifier's account of it, which costs much and is not wanted where all is well.
    log = ctypes.create_string_buffer(_LOG_BYTES)
    options.log_level, options.log_bytes = 1, _LOG_BYTES
    options.log = ctypes.cast(log, ctypes.c_void_p)
    descriptor = _try(library, spec, program, options)
    if descriptor >= 0:
        return descriptor
    said = log.value.decode("utf-8", "backslashreplace").splitlines()[-_LOG_LINES:]
    words = "".join(f"\n    {line}" for line in said)
    raise BpfError(f"loading {spec.name}: {os.strerror(-descriptor)}{words}")


def _try(library: Libbpf, spec: ProgramSpec, program: Program, options: _LoadOptions) -> int:
    """Return a descriptor, or the number of an error, negative."""
    result: int = library.function("bpf_prog_load")(
        spec.kind,
        spec.name.encode()[:15],  # BPF_OBJ_NAME_LEN, with the NUL
        _LICENCE,
        program.code,
        len(program.code) // INSN.size,
        ctypes.byref(options),
    )
    return result


def _attach_type_id(library: Libbpf, spec: ProgramSpec) -> int:
    if spec.attach_type not in _BY_TYPE or not spec.target:
        return 0
    found: int = library.function("libbpf_find_vmlinux_btf_id")(
        spec.target.encode(), spec.attach_type
    )
    if found <= 0:
        kind = _BY_TYPE[spec.attach_type]
        raise BpfError(f"loading {spec.name}: the kernel describes no {kind} hook {spec.target}")
    return found


def close_all(descriptors: Iterable[int]) -> None:
    """Let go of descriptors."""
    for each in descriptors:
        os.close(each)
