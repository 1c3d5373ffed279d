"""``path_daemon.py FILE run …``: the daemon, with a clock at each stage of a packet's way.

Each stage is a function of the daemon that is replaced by one which reads the clock, calls it and
reads the clock again. What a stage calls that is a stage itself counts there alone. When the daemon
ends, FILE has for each stage its times in ns, one for each time that it was gone through.

What reading the clock takes (a microsecond for each stage) is in the times of the stage around it.
"""

from __future__ import annotations

import functools
import json
import sys
from array import array
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from nfsnitch import cli, worker
from nfsnitch.adapters.attribution import Attributor
from nfsnitch.adapters.bpf.owners import OwnerStore
from nfsnitch.adapters.identities import Identities
from nfsnitch.adapters.nfqueue import PacketQueue
from nfsnitch.adapters.record_file import RecordFile
from nfsnitch.core.engine import Engine
from nfsnitch.core.remembered import RememberedRulings
from nfsnitch.hearing import Hearing
from nfsnitch.intake import Intake
from nfsnitch.late_records import LateRecords
from nfsnitch.upkeep import Upkeep

STAGES: tuple[tuple[str, Any, str], ...] = (
    ("look", Intake, "linger"),
    ("read", PacketQueue, "drain"),
    ("wait", PacketQueue, "wait"),
    ("worker", worker.Worker, "packet_arrived"),
    ("parse", worker, "parse"),
    ("owner", Attributor, "find"),
    ("identity", Identities, "identified"),
    ("names", Hearing, "names_of"),
    ("engine", Engine, "at_once"),
    ("rules", RememberedRulings, "known"),
    ("verdict", PacketQueue, "give_verdict"),
    ("after", Engine, "after"),
    ("record", LateRecords, "add"),
    ("write", RecordFile, "_write_chunk"),
    ("closed", OwnerStore, "tidy"),
    ("sweep", Upkeep, "_sweep_on"),
)
"""Name of each stage, and the function that it is."""

_MOST = 1_000_000


class _Clocks:
    def __init__(self) -> None:
        self.times: dict[str, array[int]] = {}
        self._inner: list[int] = [0]
        """Of each stage that is being gone through, what other stages took of it (ns)."""

    def around(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        times = self.times.setdefault(name, array("q"))
        inner = self._inner

        @functools.wraps(real)
        def timed(*args: Any, **more: Any) -> Any:  # noqa: ANN401  whatever the stage takes
            inner.append(0)
            began_ns = perf_counter_ns()
            try:
                return real(*args, **more)
            finally:
                took_ns = perf_counter_ns() - began_ns
                own_ns = took_ns - inner.pop()
                inner[-1] += took_ns
                if len(times) < _MOST:
                    times.append(own_ns)

        return timed


def main(arguments: list[str]) -> int:
    """Run the daemon by its own command line, behind the name of the file."""
    place, *argv = arguments
    clocks = _Clocks()
    for name, where, function in STAGES:
        setattr(where, function, clocks.around(name, getattr(where, function)))
    status = cli.main(argv)
    told = {name: times.tolist() for name, times in clocks.times.items()}
    Path(place).write_text(json.dumps(told), "ascii")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
