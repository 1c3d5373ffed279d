"""Compiles for a guest what bcc makes of bpf/: there it takes minutes, here seconds."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from vm.kernels import Kernel

_TIMEOUT_S = 300
_COMPILES = """
from nfsnitch.adapters.bpf.bcc_loader import started
from nfsnitch.resources import bpf_object, bpf_sources
with started(bpf_object(), bpf_sources()) as helper:
    helper.wait_until_ready()
"""


def compile_for(kernel: Kernel, cache: Path) -> None:
    """Have the daemon's own helper compile against that kernel's headers, and keep it in *cache*.

    It looks for headers where those of the running kernel are; so these lie there, for it alone.
    The name under which it keeps the code is made of what went in: the guest finds it if, and only
    if, it would compile the same.
    """
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    place = f"/lib/modules/{os.uname().release}"
    lines = (
        "mount -t tmpfs none /lib/modules",
        f"mkdir {place}",
        f"mount --bind {shlex.quote(str(kernel.modules))} {place}",
        shlex.join([sys.executable, "-c", _COMPILES]),
    )
    argv = ["unshare", "--mount", "sh", "-ec", "\n".join(lines)]
    done = subprocess.run(
        argv,
        env={**os.environ, "CACHE_DIRECTORY": str(cache)},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"bcc compiles nothing for {kernel.version}: {done.stderr[-2000:]}")
