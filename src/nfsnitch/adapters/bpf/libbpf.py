"""The few calls of libbpf.so.1 that are used, through ctypes.

libbpf 1.x reports errors as a NULL pointer or a negative number, with `errno` set (see
``libbpf_legacy.h``, LIBBPF_STRICT_ALL being the only mode left).
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from typing import Any

BPF_ANY, BPF_NOEXIST = 0, 1

_LOG_LINE_BYTES = 4096
_LOG_LINES = 400
_MOST_VERBOSE_KEPT = 1
"""LIBBPF_WARN 0, LIBBPF_INFO 1, LIBBPF_DEBUG 2."""

_PRINT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_SAMPLE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)

_POINTER = ctypes.c_void_p
_PROTOTYPES: dict[str, tuple[Any, list[Any]]] = {
    "bpf_object__open_file": (_POINTER, [ctypes.c_char_p, _POINTER]),
    "bpf_object__load": (ctypes.c_int, [_POINTER]),
    "bpf_object__close": (None, [_POINTER]),
    "bpf_object__find_program_by_name": (_POINTER, [_POINTER, ctypes.c_char_p]),
    "bpf_object__find_map_by_name": (_POINTER, [_POINTER, ctypes.c_char_p]),
    "bpf_map__fd": (ctypes.c_int, [_POINTER]),
    "bpf_map__key_size": (ctypes.c_uint32, [_POINTER]),
    "bpf_map__value_size": (ctypes.c_uint32, [_POINTER]),
    "bpf_map__name": (ctypes.c_char_p, [_POINTER]),
    "bpf_map__type": (ctypes.c_int, [_POINTER]),
    "bpf_map__max_entries": (ctypes.c_uint32, [_POINTER]),
    "bpf_map__map_flags": (ctypes.c_uint32, [_POINTER]),
    "bpf_object__next_map": (_POINTER, [_POINTER, _POINTER]),
    "bpf_object__next_program": (_POINTER, [_POINTER, _POINTER]),
    "bpf_object__btf": (_POINTER, [_POINTER]),
    "bpf_program__type": (ctypes.c_int, [_POINTER]),
    "bpf_program__expected_attach_type": (ctypes.c_int, [_POINTER]),
    "bpf_program__section_name": (ctypes.c_char_p, [_POINTER]),
    "btf__load_into_kernel": (ctypes.c_int, [_POINTER]),
    "btf__fd": (ctypes.c_int, [_POINTER]),
    "btf__type_cnt": (ctypes.c_uint32, [_POINTER]),
    "btf__type_by_id": (_POINTER, [_POINTER, ctypes.c_uint32]),
    "btf__name_by_offset": (ctypes.c_char_p, [_POINTER, ctypes.c_uint32]),
    "libbpf_find_vmlinux_btf_id": (ctypes.c_int, [ctypes.c_char_p, ctypes.c_int]),
    "bpf_prog_load": (
        ctypes.c_int,
        [ctypes.c_int, *[ctypes.c_char_p] * 3, ctypes.c_size_t, _POINTER],
    ),
    "bpf_prog_test_run_opts": (ctypes.c_int, [ctypes.c_int, _POINTER]),
    "bpf_raw_tracepoint_open": (ctypes.c_int, [ctypes.c_char_p, ctypes.c_int]),
    "bpf_link_create": (ctypes.c_int, [ctypes.c_int, ctypes.c_int, ctypes.c_int, _POINTER]),
    "bpf_map_create": (
        ctypes.c_int,
        [ctypes.c_int, ctypes.c_char_p, *[ctypes.c_uint32] * 3, _POINTER],
    ),
    "bpf_program__name": (ctypes.c_char_p, [_POINTER]),
    "bpf_program__set_autoload": (ctypes.c_int, [_POINTER, ctypes.c_bool]),
    "bpf_program__attach": (_POINTER, [_POINTER]),
    "bpf_program__attach_iter": (_POINTER, [_POINTER, _POINTER]),
    "bpf_program__attach_kprobe": (_POINTER, [_POINTER, ctypes.c_bool, ctypes.c_char_p]),
    "bpf_program__attach_uprobe": (
        _POINTER,
        [_POINTER, ctypes.c_bool, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t],
    ),
    "bpf_program__attach_cgroup": (_POINTER, [_POINTER, ctypes.c_int]),
    "bpf_program__fd": (ctypes.c_int, [_POINTER]),
    "bpf_link__destroy": (ctypes.c_int, [_POINTER]),
    "bpf_link__disconnect": (None, [_POINTER]),
    "bpf_link__fd": (ctypes.c_int, [_POINTER]),
    "bpf_link_detach": (ctypes.c_int, [ctypes.c_int]),
    "bpf_obj_get": (ctypes.c_int, [ctypes.c_char_p]),
    "bpf_obj_get_info_by_fd": (ctypes.c_int, [ctypes.c_int, _POINTER, _POINTER]),
    "bpf_obj_pin": (ctypes.c_int, [ctypes.c_int, ctypes.c_char_p]),
    "ring_buffer__new": (_POINTER, [ctypes.c_int, _SAMPLE, _POINTER, _POINTER]),
    "ring_buffer__epoll_fd": (ctypes.c_int, [_POINTER]),
    "ring_buffer__consume": (ctypes.c_int, [_POINTER]),
    "ring_buffer__free": (None, [_POINTER]),
    "bpf_map_lookup_elem": (ctypes.c_int, [ctypes.c_int, _POINTER, _POINTER]),
    "bpf_map_update_elem": (ctypes.c_int, [ctypes.c_int, _POINTER, _POINTER, ctypes.c_uint64]),
    "bpf_map_delete_elem": (ctypes.c_int, [ctypes.c_int, _POINTER]),
    "bpf_map_get_next_key": (ctypes.c_int, [ctypes.c_int, _POINTER, _POINTER]),
    "bpf_map_lookup_batch": (ctypes.c_int, [ctypes.c_int, *[_POINTER] * 6]),
    "bpf_map_delete_batch": (ctypes.c_int, [ctypes.c_int, *[_POINTER] * 3]),
}


class BpfError(Exception):
    """Something about eBPF cannot be had here; the message says what and what to do."""


class _Log:
    """Keeps the last lines that libbpf wrote, the verifier's among them, for when a load fails."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._buffer = ctypes.create_string_buffer(_LOG_LINE_BYTES)
        self._vsnprintf = ctypes.CDLL(None).vsnprintf
        self._vsnprintf.argtypes = [_POINTER, ctypes.c_size_t, ctypes.c_char_p, _POINTER]
        self.callback = _PRINT(self._keep)

    def _keep(self, level: int, template: bytes, arguments: int) -> int:
        if level > _MOST_VERBOSE_KEPT:
            return 0
        self._vsnprintf(self._buffer, _LOG_LINE_BYTES, template, arguments)
        text = self._buffer.value.decode("utf-8", "backslashreplace").rstrip()
        self.lines = (self.lines + text.splitlines())[-_LOG_LINES:]
        return 0


class Libbpf:
    """The loaded library; `call` is each function of `_PROTOTYPES` by name."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL("libbpf.so.1", use_errno=True)
        except OSError as problem:
            raise BpfError(
                f"libbpf.so.1 cannot be loaded: {problem}; install the package libbpf1"
            ) from problem
        for name, (result, arguments) in _PROTOTYPES.items():
            function = getattr(self._library, name)
            function.restype, function.argtypes = result, arguments
        self._quick = ctypes.PyDLL("libbpf.so.1", use_errno=True)
        self._log = _Log()
        self._library.libbpf_set_print(self._log.callback)

    def function(self, name: str) -> Callable[..., Any]:
        """Return one of the functions in `_PROTOTYPES`."""
        found: Callable[..., Any] = getattr(self._library, name)
        return found

    def quick(self, name: str) -> Callable[..., Any]:
        """Return one of them that keeps the interpreter to itself, as it is back at once.

        Whoever lets go of it while another thread works gets it back only after that one's turn
        (`sys.setswitchinterval`): up to 5 ms, for a microsecond's call.
        """
        found: Any = getattr(self._quick, name)
        found.restype, found.argtypes = _PROTOTYPES[name]
        quick: Callable[..., Any] = found
        return quick

    def checked(self, name: str, *arguments: object, doing: str, forbidden: str = "") -> Any:  # noqa: ANN401
        """Call a function; its result is a pointer or a number.

        Raises:
            BpfError: it returned NULL or a negative number; the message has libbpf's last lines,
                and *forbidden* where the kernel gave EACCES.

        """
        result = self.function(name)(*arguments)
        if result is None or result < 0:
            number = ctypes.get_errno()
            why = os.strerror(number) + (forbidden if number == errno.EACCES else "")
            raise BpfError(f"{doing}: {why}{self._last_lines()}")
        return result

    def _last_lines(self) -> str:
        lines, self._log.lines = self._log.lines[-12:], []
        return "".join(f"\n    {line}" for line in lines)


SampleCallback = Callable[[int, int], None]
"""Takes the address and the size in bytes of one sample of a ring buffer."""

SAMPLES_AT_ONCE = 1024
_STOP = -1


class RingBuffer:
    """The reading end of a ring buffer map."""

    def __init__(
        self,
        library: Libbpf,
        map_fd: int,
        on_sample: SampleCallback,
        at_once: int = SAMPLES_AT_ONCE,
    ) -> None:
        """Call *on_sample* for each sample, from within `consume`: for *at_once* at most."""
        self._library = library
        self._at_once = at_once

        def sample(_context: int, address: int, size: int) -> int:
            on_sample(address, size)
            self._left -= 1
            # libbpf takes note of how far it got, and stops there.
            return 0 if self._left else _STOP

        self._left = 0
        self._callback = _SAMPLE(sample)
        self._pointer = library.checked(
            "ring_buffer__new", map_fd, self._callback, None, None, doing="opening the ring buffer"
        )

    def fileno(self) -> int:
        """Return the descriptor that polls readable when the kernel wants to be read."""
        descriptor: int = self._library.function("ring_buffer__epoll_fd")(self._pointer)
        return descriptor

    def consume(self) -> bool:
        """Read some samples; returns whether there may be more."""
        self._left = self._at_once
        self._library.function("ring_buffer__consume")(self._pointer)
        return not self._left

    def close(self) -> None:
        """Let go of the ring buffer's memory."""
        if self._pointer:
            self._library.function("ring_buffer__free")(self._pointer)
            self._pointer = None
