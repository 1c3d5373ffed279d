"""The attach modes: which programs each switches on, and which of them this kernel allows.

Whether a mode can be had is found out by having it: the programs are loaded, attached, and seen to
run. What the kernel says of itself (its list of security modules, its configuration) only explains
a refusal to people.
"""

from __future__ import annotations

import gzip
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from nfsnitch.adapters import cgroups
from nfsnitch.adapters.bpf.core_loader import Attachment, LoadedPrograms, loaded
from nfsnitch.adapters.bpf.libbpf import BpfError
from nfsnitch.adapters.bpf.sights import sights
from nfsnitch.core.attach import BEST_FIRST, AttachMode
from nfsnitch.core.loader import Loader
from nfsnitch.resources import bpf_sources

Load = Callable[
    [AttachMode, tuple[Attachment, ...], Path | None], AbstractContextManager[LoadedPrograms]
]
"""Loads and attaches programs: a loader's `loaded`, all but told what to load."""

_QUEUE_BY_FENTRY = (Attachment("nfsnitch_fentry_release"), Attachment("nfsnitch_fentry_queue"))
_QUEUE_BY_KPROBE = (Attachment("nfsnitch_kprobe_release"), Attachment("nfsnitch_kprobe_queue"))
_LSM = (
    Attachment("nfsnitch_lsm_open"),
    Attachment("nfsnitch_lsm_opened"),
    Attachment("nfsnitch_lsm_create"),
    Attachment("nfsnitch_lsm_connect"),
    Attachment("nfsnitch_lsm_sendmsg"),
)
_CONNECT_AND_SEND = (
    "inet_stream_connect",
    "inet_dgram_connect",
    "inet_sendmsg",
    "inet6_sendmsg",
)

PROGRAMS: dict[AttachMode, tuple[tuple[Attachment, ...], ...]] = {
    AttachMode.LSM: (
        (*_QUEUE_BY_FENTRY, Attachment("nfsnitch_fentry_connect"), *_LSM),
        (*_QUEUE_BY_KPROBE, *_LSM),
    ),
    AttachMode.KPROBE: (
        (
            *_QUEUE_BY_KPROBE,
            Attachment("nfsnitch_sock_create", to_cgroup=True),
            Attachment("nfsnitch_kprobe_use", functions=_CONNECT_AND_SEND),
            Attachment("nfsnitch_kprobe_open"),
        ),
    ),
    AttachMode.CGROUP: (
        tuple(
            Attachment(f"nfsnitch_{hook}", to_cgroup=True)
            for hook in (
                *("sock_release", "sock_create", "connect4", "connect6", "sendmsg4", "sendmsg6"),
                "sockops",
            )
        ),
    ),
}
"""Mode → the sets of programs that make it, the better set first.

In each the release hook comes first: what is recorded can then also go.
"""
FORWARDED = (Attachment("nfsnitch_egress", to_cgroup=True),)
"""What sees, in any mode, whose packets come here from other network namespaces."""

VERDICTS = tuple(
    Attachment(f"nfsnitch_{answer}", for_netfilter=True)
    for answer in ("accepts", "rejects", "drops", "keeper")
)
"""What answers in any mode for packets that user space need not see (`verdict_cache`)."""

_SO_COOKIE = 57
"""asm-generic/socket.h"""
_DISCARD = ("127.0.0.1", 9)
_OPTIONS = {
    AttachMode.LSM: ("BPF_SYSCALL", "DEBUG_INFO_BTF", "BPF_LSM", "FUNCTION_TRACER"),
    AttachMode.KPROBE: ("BPF_SYSCALL", "DEBUG_INFO_BTF", "KPROBES", "KPROBE_EVENTS", "CGROUP_BPF"),
    AttachMode.CGROUP: ("BPF_SYSCALL", "DEBUG_INFO_BTF", "CGROUP_BPF"),
}
"""What a kernel must have been built with (``CONFIG_…``)."""


@contextmanager
def attached(
    object_file: Path,
    cgroup: Path | None = None,
    wanted: AttachMode = AttachMode.AUTO,
    loader: Loader = Loader.AUTO,
    *,
    forwarded: bool = False,
) -> Iterator[LoadedPrograms]:
    """Load and attach the programs of the *wanted* mode; detach them at the end.

    The hooks of a cgroup are put on *cgroup*, None being the root of all. `LoadedPrograms.mode` and
    `why` say which mode it became and why none of the better ones. With *forwarded*, senders in
    other network namespaces are seen, too. What *loader* needs while it loads is gone before
    anything is yielded.

    Raises:
        BpfError: the mode cannot be had here, or none can; the message says what the kernel said
            and what to do instead.

    """
    if cgroup is not None and not (cgroup / "cgroup.procs").exists():
        raise BpfError(f"{cgroup} is not the directory of a cgroup v2")
    with ExitStack() as stack:
        with loading(object_file, loader) as load:
            programs = stack.enter_context(attached_by(load, cgroup, wanted, forwarded=forwarded))
        yield programs


@contextmanager
def attached_by(
    load: Load, cgroup: Path | None, wanted: AttachMode, *, forwarded: bool = False
) -> Iterator[LoadedPrograms]:
    """Do the same with what `loading` has yielded, which is not needed any more then."""
    also = (*VERDICTS, *(FORWARDED if forwarded else ()))
    with ExitStack() as stack:
        yield _best_with_names(load, cgroup, wanted, stack, also)


def available_modes(
    object_file: Path, cgroup: Path | None = None, loader: Loader = Loader.AUTO
) -> dict[AttachMode, str | None]:
    """Try every mode, best first, and return why each cannot be had (None: it can).

    The programs are attached for a moment, and refuse nothing.

    Raises:
        BpfError: the *loader* itself cannot be had.

    """
    with loading(object_file, loader) as load:
        return {mode: _refusal(load, cgroup, mode) for mode in BEST_FIRST}


def chosen_loader(wanted: Loader) -> Loader:
    """Return which loader *wanted* comes to here; never `Loader.AUTO`."""
    if wanted is not Loader.AUTO:
        return wanted
    return Loader.CORE if _BTF.exists() else Loader.BCC


@contextmanager
def loading(object_file: Path, wanted: Loader) -> Iterator[Load]:
    """Yield what loads and attaches programs, as often as it takes.

    Raises:
        BpfError: the loader cannot be had; the message says what to install.

    """
    if chosen_loader(wanted) is Loader.CORE:
        yield partial(loaded, object_file)
        return
    from nfsnitch.adapters.bpf import bcc_loader  # noqa: PLC0415  what most never need

    try:
        with bcc_loader.started(object_file, bpf_sources()) as helper:
            helper.wait_until_ready()
            yield partial(bcc_loader.loaded, helper, object_file)
    except BpfError as problem:
        if wanted is Loader.BCC:
            raise
        why = (
            "the kernel does not describe its types (BTF), so bcc has to compile the eBPF programs"
        )
        raise BpfError(f"{why}: {problem}") from problem


def _refusal(load: Load, cgroup: Path | None, mode: AttachMode) -> str | None:
    try:
        with ExitStack() as stack:
            _in_mode(load, cgroup, mode, stack)
    except BpfError as problem:
        return _first_line(problem)
    return None


def _best_with_names(
    load: Load,
    cgroup: Path | None,
    wanted: AttachMode,
    stack: ExitStack,
    also: tuple[Attachment, ...],
) -> LoadedPrograms:
    """Take the best mode, with as much of what sees names as can be had besides."""
    refusal: BpfError | None = None
    for sight in sights():
        try:
            programs = _best(load, cgroup, wanted, stack, (*also, *sight.attachments))
        except BpfError as problem:
            refusal = problem
        else:
            why = _first_line(refusal.__cause__ or refusal) if refusal else None
            problems = sight.problems(why)
            return replace(programs, dns_problem=problems.dns, libc_problem=problems.libc)
    raise refusal or AssertionError("the last of the sights is none at all")


def _best(
    load: Load,
    cgroup: Path | None,
    wanted: AttachMode,
    stack: ExitStack,
    also: tuple[Attachment, ...],
) -> LoadedPrograms:
    if wanted is not AttachMode.AUTO:
        try:
            programs = _in_mode(load, cgroup, wanted, stack, also)
        except BpfError as problem:
            raise BpfError(
                f"attach mode {wanted} cannot be had here: {problem}\n"
                "Use --attach auto, which takes the best mode that this kernel allows."
            ) from problem
        return replace(programs, why="asked for")
    refused: dict[AttachMode, BpfError] = {}
    for mode in BEST_FIRST:
        try:
            programs = _in_mode(load, cgroup, mode, stack, also)
        except BpfError as problem:
            refused[mode] = problem
        else:
            return replace(programs, why=_why(refused))
    reasons = "".join(f"\n{mode}: {problem}" for mode, problem in refused.items())
    last = next(reversed(refused.values()))
    raise BpfError(f"this kernel allows no way to attach eBPF programs{reasons}") from last


def _why(refused: dict[AttachMode, BpfError]) -> str:
    if not refused:
        return "the best there is"
    reasons = (f"{mode} cannot be had ({_first_line(why)})" for mode, why in refused.items())
    return "; ".join(reasons)


def _first_line(problem: BaseException) -> str:
    """Return the message without libbpf's log."""
    return str(problem).partition("\n")[0]


def _in_mode(
    load: Load,
    cgroup: Path | None,
    mode: AttachMode,
    stack: ExitStack,
    also: tuple[Attachment, ...] = (),
) -> LoadedPrograms:
    """Load and attach a mode's programs, or those that can stand in for them."""
    _look_first(mode)
    refusal: BpfError | None = None
    for usual in PROGRAMS[mode]:
        programs = (*usual, *also)
        try:
            _look_for_kprobes(programs)
            return _attached_and_seen(load, cgroup, mode, programs, stack)
        except _NoKprobesError as problem:
            refusal = refusal or problem  # the better programs have the more telling reason
        except BpfError as problem:
            refusal = problem
    if isinstance(refusal, _NoKprobesError):
        raise refusal
    first, _, log = str(refusal).partition("\n")
    hints = "".join(f"; {hint}" for hint in _hints(mode))
    raise BpfError(f"{first}{hints}" + (f"\n{log}" if log else "")) from refusal


def _attached_and_seen(
    load: Load,
    cgroup: Path | None,
    mode: AttachMode,
    attachments: tuple[Attachment, ...],
    stack: ExitStack,
) -> LoadedPrograms:
    if cgroup is None and any(each.to_cgroup for each in attachments):
        cgroup = root_cgroup()
    with ExitStack() as trying:
        programs = trying.enter_context(load(mode, attachments, cgroup))
        if mode is not AttachMode.CGROUP:  # which sees its own cgroup only, and we may be outside
            see_hooks_run(programs)
        stack.push(trying.pop_all())
    return programs


def root_cgroup() -> Path:
    """Return the directory of the cgroup above all others.

    Raises:
        BpfError: there is none.

    """
    try:
        return cgroups.v2_root()
    except OSError as problem:
        raise BpfError(str(problem)) from problem


def see_hooks_run(programs: LoadedPrograms) -> None:
    """Use a socket, and look whether that was recorded: attached hooks need not be in use.

    Raises:
        BpfError: it was not.

    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        cookie = probe.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8)
        with suppress(OSError):  # the hook has been run before the kernel looks for a route
            probe.connect(_DISCARD)
        if programs.owners.get(cookie) is None:
            raise BpfError("its hooks can be attached, but the kernel does not run them")


_BTF = Path("/sys/kernel/btf/vmlinux")
_LSM_LIST = Path("/sys/kernel/security/lsm")
_PMUS = Path("/sys/bus/event_source/devices")
_KPROBE_EVENTS = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))


class _NoKprobesError(BpfError):
    """The kernel has no kprobes, whatever else it has."""


def _look_first(mode: AttachMode) -> None:
    """Refuse what is known not to work: that saves the time to try, and has a better reason."""
    if mode is AttachMode.LSM:
        if not _BTF.exists():
            raise BpfError(f"it takes a description of the kernel's types ({_BTF})")
        with suppress(OSError):
            active = _LSM_LIST.read_text("ascii").strip()
            if "bpf" not in active.split(","):
                raise BpfError(
                    f"bpf is not among the active security modules ({active}); "
                    f"boot with lsm={active},bpf"
                )


def _look_for_kprobes(programs: Iterable[Attachment]) -> None:
    """Refuse programs that need kprobes where there are none: loading them takes its time."""
    if any("kprobe" in each.program for each in programs) and _PMUS.is_dir() and not _has_kprobes():
        raise _NoKprobesError("the kernel has no kprobes (CONFIG_KPROBE_EVENTS)")


def _has_kprobes() -> bool:
    """Whether there is one of the two ways by which libbpf sets a kprobe."""
    by_file = any((folder / "kprobe_events").exists() for folder in _KPROBE_EVENTS)
    return (_PMUS / "kprobe").exists() or by_file


def _hints(mode: AttachMode) -> Iterator[str]:
    if not _BTF.exists() and Path("/sys/kernel").is_dir():
        yield f"the kernel has no description of its types ({_BTF})"
    config = _kernel_config()
    missing = [name for name in _OPTIONS[mode] if config and f"CONFIG_{name}=" not in config]
    if missing:
        yield "it was built without " + ", ".join(f"CONFIG_{name}" for name in missing)
    elif config and mode is AttachMode.LSM:
        yield "it was built with what this needs, so something forbids it (see kernel lockdown)"


def _kernel_config() -> str:
    """Return the configuration the kernel was built with, "" if it is not to be had."""
    with suppress(OSError, EOFError):
        return gzip.decompress(Path("/proc/config.gz").read_bytes()).decode("utf-8", "replace")
    with suppress(OSError):
        return Path(f"/boot/config-{os.uname().release}").read_text("utf-8", "replace")
    return ""
