"""``make bench ARGS=path``: where each microsecond of a new flow goes, on the real daemon.

One client makes connections that a rule allows, one after the other, while the daemon takes the
time of each stage of a packet's way (`path_daemon`). Times are those that pass: the verdict's has
in it what the kernel does with the packet that goes on, answer and wake-up of the program included.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from statistics import median, quantiles
from typing import NamedTuple

from nfsnitch.lab.benching.amounts import FULL, QUICK, Amounts
from nfsnitch.lab.benching.processes import processor_s
from nfsnitch.lab.benching.rule_files import PORT, SERVER_ADDRESS, rules_text
from nfsnitch.lab.benching.site import Site, built
from nfsnitch.lab.firewall import Firewall
from nfsnitch.lab.waiting import LabError

_BEFORE, _AFTER = "before the verdict", "after it"
ROWS: tuple[tuple[str, str, str], ...] = (
    ("read", _BEFORE, "a message out of the queue, taken apart; and that there is no other one"),
    ("worker", _BEFORE, "from stage to stage; moment, interface, counters"),
    ("parse", _BEFORE, "the packet's headers"),
    ("owner", _BEFORE, "whose it is: two look-ups in maps"),
    ("identity", _BEFORE, "which binary that is"),
    ("names", _BEFORE, "the destination's names"),
    ("rules", _BEFORE, "what the rules have said of such a flow"),
    ("engine", _BEFORE, "whether there is more to it: what is held, asked, read"),
    ("verdict", _BEFORE, "telling the kernel, and all that the packet causes there"),
    ("after", _AFTER, "what is remembered of the flow, its record, what is counted"),
    ("record", _AFTER, "handing the record on, to whoever keeps it or watches"),
    ("look", _AFTER, "waiting for the next packet of the burst; what is planned for later"),
    ("write", _AFTER, "records as JSON, written, after the burst"),
    ("closed", _AFTER, "hearing of closed sockets, forgetting their owners"),
    ("sweep", _AFTER, "forgetting programs that have ended"),
)
"""Stage, when it is gone through, and what it does."""


class Stage(NamedTuple):
    """What one stage has taken."""

    name: str
    times: int
    p50_us: float
    p99_us: float
    us_per_flow: float
    """How often it was gone through for each flow, by `p50_us`."""


def main(arguments: Sequence[str]) -> int:
    """Measure, and print a table; return 2 if nothing can be measured."""
    parser = argparse.ArgumentParser(prog="bench path", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="as little as shows that it works")
    options = parser.parse_args(arguments)
    amounts = QUICK if options.quick else FULL
    try:
        stages, processor_us = measured(amounts)
    except (LabError, OSError, ValueError) as problem:
        sys.stderr.write(f"bench path: {problem}\n")
        return 2
    sys.stdout.write("\n".join(_lines(stages, processor_us)) + "\n")
    return 0


def measured(amounts: Amounts) -> tuple[Mapping[str, Stage], float]:
    """Return the stages by name, and the processor time of a flow in all, in µs."""
    with ExitStack() as stack:
        site = stack.enter_context(built(amounts))
        rules, kept = site.world.folder / "rules.yaml", site.world.folder / "path.json"
        rules.write_text(rules_text(amounts.few_rules, site.programs), "utf-8")
        command = (sys.executable, "-m", "nfsnitch.lab.benching.path_daemon", str(kept))
        firewall = stack.enter_context(
            Firewall(site.world, [rules], command=command, extra=("--no-cache",))
        )
        used_s = processor_s([firewall.child.pid])
        flows = _connect(site)
        firewall.wait_for_records(lambda _: True, flows)
        processor_us = (processor_s([firewall.child.pid]) - used_s) / flows * 1e6
        firewall.stop()
        told: dict[str, list[int]] = json.loads(kept.read_text("ascii"))
    return {name: _stage(name, times, flows) for name, times in told.items() if times}, processor_us


def _connect(site: Site) -> int:
    """Have one client connect; return how many flows that made."""
    amounts = site.amounts
    limit_ms = amounts.limit_ms * 10
    words = (SERVER_ADDRESS, PORT, amounts.connects, 1, amounts.warm_up, limit_ms)
    site.run(site.connect, *words, timeout_s=60)
    return amounts.connects + amounts.warm_up


def _stage(name: str, times_ns: list[int], flows: int) -> Stage:
    p99_ns = quantiles(times_ns, n=100)[-1] if len(times_ns) > 1 else times_ns[0]
    p50_us = median(times_ns) / 1e3
    return Stage(name, len(times_ns), p50_us, p99_ns / 1e3, p50_us * len(times_ns) / flows)


def _lines(stages: Mapping[str, Stage], processor_us: float) -> list[str]:
    lines = ["   µs of   µs each time"]
    lines += ["  a flow    p50     p99   stage"]
    for when in (_BEFORE, _AFTER):
        lines.append(f"{when}:")
        rows = [(stages[name], does) for name, at, does in ROWS if at == when and name in stages]
        lines += [
            f"{each.us_per_flow:8.1f} {each.p50_us:6.1f} {each.p99_us:7.1f}   {each.name}: {does}"
            for each, does in rows
        ]
        lines.append(f"{sum(each.us_per_flow for each, _ in rows):8.1f}                  in all")
    lines.append(
        f"{processor_us:8.1f}  of a processor for each flow, clocks and event loop included"
    )
    return lines
