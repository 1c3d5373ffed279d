"""What somebody might use in its place: OpenSnitch, as Debian has it, with a rule a program."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nfsnitch.lab.benching.cases import BARE, OPENSNITCH, Case
from nfsnitch.lab.benching.contenders import Running
from nfsnitch.lab.benching.site import Site
from nfsnitch.lab.process import same_modules
from nfsnitch.lab.programs import REPOSITORY
from nfsnitch.lab.waiting import LabError
from nfsnitch.lab.world import World
from nfsnitch.options import DEFAULT_QUEUE_NUM

RIVALS = (OPENSNITCH,)
_FETCHES = REPOSITORY / "scripts" / "rival-opensnitch"
_FETCH_TIMEOUT_S = 300
_READY_TIMEOUT_S = 60.0
_READY = "Running on netfilter queue"
_DEBUG, _TRACING = Path("/sys/kernel/debug"), Path("/sys/kernel/tracing")
"""Where it looks for kprobes, and where they are in any case."""
_SETTINGS = {
    "Server": {"LogFile": ""},
    "DefaultAction": "allow",
    "DefaultDuration": "once",
    "InterceptUnknown": False,
    "ProcMonitorMethod": "ebpf",
    "LogLevel": 1,
    "LogUTC": True,
    "LogMicro": False,
    "Stats": {"MaxEvents": 150, "MaxStats": 25, "Workers": 6},
    "Internal": {"GCPercent": 100, "FlushConnsOnStart": False},
}
"""As it comes, but that it says when it is ready (`_READY`), which is of the level below."""


def case(name: str) -> Case:
    """Return the contender of that name, one of `RIVALS`.

    Raises:
        LabError: it cannot be fetched.

    """
    if name != OPENSNITCH:
        raise LabError(f"nothing is known of {name}")
    root = _fetched()
    version = _said([str(root / "usr/bin/opensnitchd"), "-version"])

    @contextmanager
    def start(site: Site) -> Iterator[Running]:
        yield _started(site, root)

    return Case(OPENSNITCH, f"OpenSnitch {version}", start, BARE)


def _fetched() -> Path:
    return Path(_said([str(_FETCHES)], timeout_s=_FETCH_TIMEOUT_S))


def _said(argv: list[str], timeout_s: float = 20.0) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise LabError(f"OpenSnitch cannot be had: {problem}") from problem
    if done.returncode:
        raise LabError(f"OpenSnitch cannot be had: {done.stderr.strip()}")
    return done.stdout.strip()


def _started(site: Site, root: Path) -> Running:
    world = site.world
    folder = world.folder / "opensnitch"
    config = _config(site, folder, root)
    argv = [str(root / "usr/bin/opensnitchd"), "-config-file", str(config)]
    argv += ["-rules-path", str(folder / "rules"), "-ui-socket", f"unix://{folder}/nobody.sock"]
    argv += ["-queue-num", str(DEFAULT_QUEUE_NUM)]
    began_s = time.monotonic()
    child = world.spawn(argv, cgroup=world.infra, binds=_kernel_files(folder))
    child.wait_for_line(child.stdout, lambda line: _READY in line, _READY_TIMEOUT_S)
    return Running(child.pid, time.monotonic() - began_s)


def _config(site: Site, folder: Path, root: Path) -> Path:
    rules = folder / "rules"
    rules.mkdir(parents=True)
    for program in site.programs:
        rule = _rule(program)
        (rules / f"{rule['name']}.json").write_text(json.dumps(rule), "utf-8")
    settings = _SETTINGS | {
        "Firewall": "nftables" if _nft_queues(site.world) else "iptables",
        "Rules": {"Path": str(rules)},
        "Ebpf": {"ModulesPath": str(root / "usr/lib/opensnitchd/ebpf")},
    }
    config = folder / "config.json"
    config.write_text(json.dumps(settings), "utf-8")
    return config


def _rule(program: Path) -> dict[str, object]:
    return {
        "created": "2026-01-01T00:00:00Z",
        "updated": "2026-01-01T00:00:00Z",
        "name": f"allow-{program.name}",
        "enabled": True,
        "precedence": True,
        "action": "allow",
        "duration": "always",
        "operator": {
            "type": "simple",
            "operand": "process.path",
            "sensitive": False,
            "data": str(program),
            "list": [],
        },
    }


def _nft_queues(world: World) -> bool:
    path = [sys.executable, "-m", "nfsnitch.lab.benching.bare_path"]
    child = world.spawn(path, cgroup=world.infra, env=same_modules())
    return child.finish(_READY_TIMEOUT_S).stdout.strip() == "nft"


def _kernel_files(folder: Path) -> dict[str, str]:
    """Return what is to be seen elsewhere: the tracing files, where debugfs is not mounted."""
    if (_DEBUG / "tracing" / "kprobe_events").exists() or not _DEBUG.is_dir():
        return {}
    stand_in = folder / "debug"
    (stand_in / "tracing").mkdir(parents=True)
    return {str(_DEBUG): str(stand_in), str(_DEBUG / "tracing"): str(_TRACING)}
