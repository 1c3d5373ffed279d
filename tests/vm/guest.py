"""A guest: one of the kernels under qemu, on the host's own files, running one command."""

from __future__ import annotations

import os
import platform
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from vm.kernels import Kernel, folder, initramfs

_SCRIPT = Path(__file__).with_name("guest.sh")
_MEMORY = "2G"
_KILL_TIMEOUT_S = 20
_CONSOLE = "console=ttyS0 loglevel=4 oops=panic panic=-1"
_LEAN = "mitigations=off no5lvl nokaslr audit=0 rcupdate.rcu_expedited=1"
"""What costs an emulator much and shows the tests nothing: also to wait for all readers of RCU in
comfort, as the end of each namespace and eBPF program does many times."""
_EMULATED = {"x86_64": "Nehalem"}
"""By machine, the processor to emulate: what later ones can do besides costs an eighth more."""
_TAIL_BYTES = 4_000
_NICENESS = 10
"""Whatever else runs on this machine comes first: a guest computes without end."""
_KVM = Path("/dev/kvm")
_KVM_PATIENCE_S = 15
"""With the processor's help a guest is up in two seconds; where there is a /dev/kvm that cannot run
all that a kernel is made of, never."""


class Guest:
    """One boot of a kernel; it ends with the `with` block, and with this process at the latest."""

    def __init__(
        self, kernel: Kernel, share: Path, command: Sequence[str], *, cpus: int = 1
    ) -> None:
        """Prepare to run *command* in the present folder; *share* is to be an empty folder."""
        self.kernel = kernel
        self._share = share
        self._cpus = cpus
        self._qemu: subprocess.Popen[bytes] | None = None
        self._console = share / "console"
        self._give_up_kvm: float | None = None
        self.output = share / "output"
        """What the command has said."""
        script = f"cd {shlex.quote(str(Path.cwd()))} && {shlex.join(command)}\n"
        (share / "command").write_text(script, encoding="utf-8")
        first = ("/bin/bash", str(_SCRIPT), str(kernel.modules), str(share))
        (share / "initramfs").write_bytes(initramfs(kernel, share, first))

    def __enter__(self) -> Self:
        """Turn it on."""
        self._start(kvm=os.access(_KVM, os.R_OK | os.W_OK) and not _kvm_has_failed())
        return self

    def __exit__(self, *_exception: object) -> None:
        """Turn it off, whatever it does."""
        self._kill()

    @property
    def pid(self) -> int:
        """Return the emulator's process id."""
        if self._qemu is None:
            raise RuntimeError("this guest has not been turned on")
        return self._qemu.pid

    @property
    def status(self) -> int | None:
        """Return the command's exit status, None as long as it runs, or if it never ended."""
        try:
            return int((self._share / "status").read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return None

    def is_on(self) -> bool:
        """Tell whether it still runs; where /dev/kvm turns out to be of no use, without that."""
        if self._qemu is None:
            return False
        if self._give_up_kvm is not None:
            if (self._share / "up").exists():
                self._give_up_kvm = None
            elif time.monotonic() > self._give_up_kvm:
                _kvm_note().write_text(_boot_id(), encoding="ascii")
                self._kill()
                self._start(kvm=False)
        return self._qemu.poll() is None

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is off; return whether it is."""
        end = time.monotonic() + timeout_s
        while self.is_on():
            if time.monotonic() > end:
                return False
            time.sleep(0.2)
        return True

    def console_tail(self) -> str:
        """Return the end of what the kernel and qemu have said."""
        return self._said()[-_TAIL_BYTES:].decode("utf-8", "replace")

    def _said(self) -> bytes:
        return self._console.read_bytes() if self._console.exists() else b""

    def _start(self, *, kvm: bool) -> None:
        self._give_up_kvm = time.monotonic() + _KVM_PATIENCE_S if kvm else None
        with self._console.open("wb") as console:
            self._qemu = subprocess.Popen(
                [*_dies_with_us(), *self._command_line(kvm=kvm)],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,  # Ctrl-C is for the tests, and they end it
            )
        with suppress(OSError):  # where sessions are scheduled by turns, niceness counts within one
            Path(f"/proc/{self._qemu.pid}/autogroup").write_text(str(_NICENESS), "ascii")

    def _command_line(self, *, kvm: bool) -> list[str]:
        machine = platform.machine()
        accelerator = "kvm" if kvm else "tcg,thread=multi"
        processor = "max" if kvm else _EMULATED.get(machine, "max")
        return [
            *(f"qemu-system-{machine}", "-nodefaults", "-no-reboot", "-display", "none"),
            *("-machine", "q35", "-accel", accelerator, "-cpu", processor),
            *("-smp", str(self._cpus), "-m", _MEMORY),
            *("-kernel", str(self.kernel.image), "-initrd", str(self._share / "initramfs")),
            *("-append", f"{_CONSOLE} {_LEAN}"),
            *("-serial", "stdio"),
            *_shared("host", Path("/"), ",readonly=on"),
            *_shared("share", self._share, ""),
        ]

    def _kill(self) -> None:
        if self._qemu is not None and self._qemu.poll() is None:
            os.killpg(self._qemu.pid, signal.SIGKILL)
            self._qemu.wait(_KILL_TIMEOUT_S)


def _kvm_note() -> Path:
    return folder() / "kvm-does-not-work"


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")


def _kvm_has_failed() -> bool:
    """Tell whether it has been tried since this machine was started."""
    return _kvm_note().exists() and _kvm_note().read_text(encoding="ascii") == _boot_id()


def _dies_with_us() -> list[str]:
    """Return the beginning of a command line of what the kernel ends when this process ends."""
    asks = ("setpriv", "--pdeathsig", "KILL")
    # This process may have ended before the kernel was asked.
    looks = ("sh", "-c", f'test $PPID = {os.getpid()} && exec "$@"', "sh")
    return [*asks, *looks, "nice", "-n", str(_NICENESS)]


def _shared(tag: str, path: Path, option: str) -> list[str]:
    escaped = str(path).replace(",", ",,")
    folder = f"local,id={tag},path={escaped},security_model=none,multidevs=remap{option}"
    return ["-fsdev", folder, "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
