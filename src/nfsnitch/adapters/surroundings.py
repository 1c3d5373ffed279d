"""What else there is on this machine that matters to a firewall: looked at, never touched."""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from nfsnitch.adapters import cgroups, netns, privileges, procfs, raw_diag, rulefile
from nfsnitch.adapters.answer import Answer, State
from nfsnitch.adapters.bpf import bpffs, kernel_headers
from nfsnitch.adapters.bpf.libbpf import BpfError
from nfsnitch.adapters.instance import RUN_DIRECTORY
from nfsnitch.core.text import counted, decoded, shown
from nfsnitch.core.unknown import Unknown

BTF = Path("/sys/kernel/btf/vmlinux")
LSM_LIST = Path("/sys/kernel/security/lsm")
KPROBE_TYPE = Path("/sys/bus/event_source/devices/kprobe/type")
UNPRIVILEGED_BPF = Path("/proc/sys/kernel/unprivileged_bpf_disabled")
PACKET_SOCKETS = Path("/proc/thread-self/net/packet")
QUEUES = Path("/proc/thread-self/net/netfilter/nfnetlink_queue")
_PROTOCOLS = Path("/proc/net/protocols")
_SOCKET_KINDS = ("TCP", "MPTCP", "UDP", "UDP-Lite", "SCTP", "DCCP", "PING", "RAW")
"""As the kernel names them there; a module may bring one as soon as a program asks for it."""
_PYTHON_PACKAGES = ("NetfilterQueue", "PyYAML", "google-re2")
_OUR_TABLE, _OUR_LAST_PRIORITY = "inet nfsnitch", 152
_COMMAND_TIMEOUT_S = 10
# linux/proc_ns.h: these are the numbers of the machine's own namespaces.
_FIRST_NAMESPACES = {"user": 0xEFFFFFFD, "pid": 0xEFFFFFFC, "time": 0xEFFFFFFA}


def kernel() -> Answer:
    """Tell which kernel runs."""
    return Answer(State.OK, f"{platform.system()} {platform.release()}, {platform.machine()}")


def btf() -> Answer:
    """Look for the description of the kernel's types."""
    if os.access(BTF, os.R_OK):
        return Answer(State.OK, str(BTF))
    return Answer(State.MISSING, f"no {BTF}", "use a kernel with CONFIG_DEBUG_INFO_BTF, or bcc")


def bcc() -> Answer:
    """Look for the compiler that stands in where there is no such description."""
    missing, more, headers = [], [], ""
    if importlib.util.find_spec("bcc") is None:
        missing.append("no bcc")
        more.append("install the package python3-bpfcc")
    try:
        headers = str(kernel_headers.found())
    except BpfError:
        missing.append(f"no headers of kernel {os.uname().release}")
        more.append(kernel_headers.remedy())
    if missing:
        return Answer(State.MISSING, ", ".join(missing), "; ".join(more))
    return Answer(State.OK, f"it compiles with {shown(headers)}")


def socket_kinds() -> Answer:
    """Tell which kinds of sockets that reach the network the kernel has, and which it lacks now."""
    try:
        lines = _PROTOCOLS.read_text("ascii").splitlines()[1:]
    except OSError as problem:
        return Answer(State.UNKNOWN, f"{_PROTOCOLS}: {problem.strerror}")
    present = {line.split()[0] for line in lines if line}
    has = ", ".join(name for name in _SOCKET_KINDS if name in present)
    lacks = ", ".join(name for name in _SOCKET_KINDS if name not in present)
    return Answer(State.OK, has + (f"; not now: {lacks}" if lacks else ""))


def cgroup_v2() -> Answer:
    """Look for the unified hierarchy."""
    try:
        return Answer(State.OK, f"mounted at {shown(str(cgroups.v2_root()))}")
    except OSError as problem:
        return Answer(State.MISSING, str(problem))


def lsm_list() -> Answer:
    """Look for bpf among the active security modules."""
    try:
        active = LSM_LIST.read_text("ascii").strip()
    except OSError as problem:
        return Answer(State.UNKNOWN, f"{LSM_LIST}: {problem.strerror}", "mount securityfs")
    if "bpf" in active.split(","):
        return Answer(State.OK, active)
    return Answer(State.MISSING, active, f"boot with lsm={active},bpf")


def kprobes() -> Answer:
    """Look for the event source through which kprobes are made."""
    if KPROBE_TYPE.exists():
        return Answer(State.OK, "the kernel has kprobe events")
    return Answer(
        State.MISSING, f"no {KPROBE_TYPE.parent}", "use a kernel with CONFIG_KPROBE_EVENTS"
    )


def unprivileged_bpf() -> Answer:
    """Tell who may load eBPF programs."""
    try:
        value = UNPRIVILEGED_BPF.read_text("ascii").strip()
    except OSError as problem:
        return Answer(State.UNKNOWN, f"{UNPRIVILEGED_BPF}: {problem.strerror}")
    detail = f"kernel.unprivileged_bpf_disabled = {value}"
    if value == "0":
        return Answer(State.LIMITED, detail, "sysctl kernel.unprivileged_bpf_disabled=1")
    return Answer(State.OK, detail)


def capabilities() -> Answer:
    """Compare the capabilities of this process with those that the daemon starts with."""
    lacking = privileges.missing_at_start()
    if os.geteuid() == 0 and not lacking:
        return Answer(State.OK, "root, with all that a start needs")
    if os.geteuid() == 0:
        what = f"root, but without {privileges.named(lacking)}"
        return Answer(State.MISSING, what, "give it these: a container may be without")
    what = f"without {privileges.named(lacking)}" if lacking else "with what a start needs"
    return Answer(State.UNKNOWN, f"user {os.geteuid()}, {what}", "run it as root")


def libbpf() -> Answer:
    """Look for the library that loads eBPF programs."""
    try:
        version = ctypes.CDLL("libbpf.so.1").libbpf_version_string
    except (OSError, AttributeError) as problem:
        return Answer(State.MISSING, str(problem), "install the package libbpf1")
    version.restype = ctypes.c_char_p
    return Answer(State.OK, decoded(version()))


def nft_version() -> Answer:
    """Tell the version of nftables; its library does not tell its own."""
    try:
        said = _output("nft", "--version")
    except OSError as problem:
        return Answer(State.LIMITED, f"nft: {problem}", "install the package nftables")
    return Answer(State.OK, said.strip())


def python_packages() -> Answer:
    """Tell the versions of what was installed with pip."""
    found, missing = [], []
    for name in _PYTHON_PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if importlib.util.find_spec("nftables") is None:
        return Answer(State.MISSING, "no nftables", "install the package python3-nftables")
    if missing:
        return Answer(State.MISSING, f"no {', '.join(missing)}", f"pip install {' '.join(missing)}")
    return Answer(State.OK, ", ".join(found))


def rules(paths: tuple[Path, ...]) -> Answer:
    """Read the rule files."""
    try:
        ruleset = rulefile.load(paths, rulefile.system_names())
    except PermissionError as problem:
        return Answer(State.UNKNOWN, str(problem), "run it as root")
    except (rulefile.RuleFileError, OSError) as problem:
        first, *others = str(problem).splitlines() or [repr(problem)]
        more = f" (and {len(others)} more lines)" if others else ""
        names = " ".join(map(str, paths))
        return Answer(State.LIMITED, f"{first}{more}", f"nfsnitch check {shown(names)}")
    return Answer(State.OK, f"{counted(len(ruleset.rules), 'rule')}, default {ruleset.default}")


def running() -> Answer:
    """Look for a daemon in this network namespace, without touching its lock."""
    holder = _enforcer(netns.inode())
    who = "none" if holder is None else f"process {holder}"
    return Answer(State.OK, f"{who} in this network namespace")


def pins() -> Answer:
    """Look for what keeps eBPF programs when the daemon ends, and for what was left behind."""
    if not bpffs.is_mounted():
        what = f"no bpf file system at {bpffs.PLACE}"
        return Answer(State.LIMITED, what, f"mount -t bpf bpf {bpffs.PLACE} (run tries, too)")
    try:
        names = os.listdir(bpffs.PINS)  # noqa: PTH208  nothing but the names
    except FileNotFoundError:
        names = []
    except OSError as problem:
        return Answer(State.UNKNOWN, f"{bpffs.PINS}: {problem.strerror}", "run it as root")
    numbers = [number for name in names if (number := bpffs.netns_of(name)) is not None]
    left = sum(_enforcer(number) is None for number in numbers)
    detail = f"mounted; pinned for {len(numbers)} network namespaces"
    if not left:
        return Answer(State.OK, detail)
    what = f"{detail}, {left} of them without a daemon now"
    return Answer(State.OK, f"{what}; nfsnitch unload --all removes these")


def _enforcer(namespace: int) -> str | None:
    """Return the process that has the lock of a network namespace; None: nobody has."""
    lock = RUN_DIRECTORY / f"netns-{namespace}.lock"
    try:
        file = lock.stat()
    except OSError:
        return None
    place = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}"
    for line in Path("/proc/locks").read_text("ascii").splitlines():
        # number, kind, mode, access, pid, device:inode, …
        fields = line.replace("-> ", "").split()
        if fields[1] == "FLOCK" and fields[5] == place:
            return fields[4]
    return None


def service_manager() -> Answer:
    """Look for systemd."""
    if Path("/run/systemd/system").is_dir():
        return Answer(State.OK, "systemd")
    return Answer(State.OK, "no systemd; a plain start does as well (docs/install.md)")


def namespaces() -> Answer:
    """Tell whether this is the machine itself, or some part of it."""
    others = []
    for name, first in _FIRST_NAMESPACES.items():
        with suppress(OSError):
            if Path(f"/proc/self/ns/{name}").stat().st_ino != first:
                others.append(name)
    if not others:
        return Answer(State.OK, "the machine's own user, pid and time namespace")
    detail = f"a {' and '.join(others)} namespace of its own: a container"
    return Answer(State.LIMITED, detail, "run nfsnitch on the machine itself, outside containers")


def other_rules() -> Answer:
    """Look for chains and queues that come behind ours."""
    try:
        tables = json.loads(_output("nft", "-j", "list", "chains"))["nftables"]
    except (OSError, ValueError, KeyError) as problem:
        return Answer(State.UNKNOWN, f"nft list chains: {problem}", "run it as root")
    chains = [each["chain"] for each in tables if "chain" in each]
    later = [
        shown(f"{chain['family']} {chain['table']} {chain['name']} ({chain['prio']})")
        for chain in chains
        if chain.get("hook") in {"output", "postrouting"}
        and chain.get("type") == "filter"
        and chain["prio"] > _OUR_LAST_PRIORITY
        and f"{chain['family']} {chain['table']}" != _OUR_TABLE
    ]
    with suppress(OSError):
        later += [f"queue {line.split()[0]}" for line in QUEUES.read_text("ascii").splitlines()]
    if not later:
        return Answer(State.OK, "nobody else decides behind us, and nobody has a queue")
    more = "see that these do not take or change what was allowed"
    return Answer(State.LIMITED, ", ".join(later), more)


def packet_sockets() -> Answer:
    """Tell who holds packet sockets, which netfilter does not see."""
    try:
        lines = PACKET_SOCKETS.read_text("ascii").splitlines()[1:]
    except OSError as problem:
        return Answer(State.UNKNOWN, f"{PACKET_SOCKETS}: {problem.strerror}")
    return _holders([int(line.split()[8]) for line in lines], "AF_PACKET")


def xdp_sockets() -> Answer:
    """Tell who holds AF_XDP sockets, which netfilter does not see either."""
    try:
        inodes = sorted(raw_diag.xdp_sockets())
    except FileNotFoundError:
        return Answer(State.OK, "the kernel lists none")
    except OSError as problem:
        return Answer(State.UNKNOWN, problem.strerror or str(problem))
    return _holders(inodes, "AF_XDP")


def _holders(inodes: list[int], kind: str) -> Answer:
    if not inodes:
        return Answer(State.OK, f"no program holds an {kind} socket now; root can at any time")
    pids = procfs.holders(inodes)
    names = ", ".join(f"{_program(pid)} ({pid})" for pid in pids) or "programs that cannot be seen"
    more = "take CAP_NET_RAW from programs that do not need it"
    return Answer(State.LIMITED, f"held by {names}", more)


def _program(pid: int) -> str:
    path = procfs.executable(pid).path
    return "a program" if isinstance(path, Unknown) else shown(path)


def _output(name: str, *arguments: str) -> str:
    command = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if command is None:
        raise FileNotFoundError("not installed")
    done = subprocess.run(
        [command, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=_COMMAND_TIMEOUT_S,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise OSError(done.stderr.strip().splitlines()[0] if done.stderr.strip() else "it failed")
    return done.stdout
