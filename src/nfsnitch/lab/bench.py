"""``python -m nfsnitch.lab.bench``: how long it takes until somebody sees the question.

A program in the client's namespace reads the clock and connects; the packet is queued, held and
attributed, the question goes over the control socket, the desktop program shows its window on a
display (Xvfb), and notes when that has been painted. What is measured is all of it, from before the
program's connect(2): a little more than from the packet's being queued.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from statistics import median, quantiles

from nfsnitch.lab import bench_lists, bench_rules
from nfsnitch.lab.answerer import Answerer
from nfsnitch.lab.benching import command as bench_flows
from nfsnitch.lab.benching import path as bench_path
from nfsnitch.lab.desktop import Desktop
from nfsnitch.lab.firewall import Firewall
from nfsnitch.lab.process import Child
from nfsnitch.lab.world import World

ROUNDS = 60
WARM_UP = 3
BAR_MS = 150.0
_FIRST_PORT = 20_000
_RULES = "default: ask\ntimeouts: {ask: 10m}\n"
_PROGRAM = """
import socket, sys, time
for line in sys.stdin:
    with socket.socket() as sock:
        sock.setblocking(False)
        began = time.monotonic_ns()
        sock.connect_ex(("192.0.2.1", int(line)))
        print(began, flush=True)
        sys.stdin.readline()
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and say what came of it; return the exit status."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given[:1] == ["flows"]:
        return bench_flows.main(given[1:])
    if given[:1] == ["path"]:
        return bench_path.main(given[1:])
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N")
    parser.add_argument(
        "what",
        nargs="?",
        choices=["questions", "flows", "path", "lists", "rules"],
        default="questions",
    )
    options = parser.parse_args(given)
    if options.what == "lists":
        return bench_lists.main()
    if options.what == "rules":
        return bench_rules.main()
    times_ms = measured(options.rounds)
    p95 = quantiles(times_ms, n=20)[-1]
    rows = (("p50", median(times_ms)), ("p95", p95), ("max", max(times_ms)))
    _say(f"connect(2) until the question is painted, {len(times_ms)} questions one by one:")
    for name, value_ms in rows:
        _say(f"  {name}  {value_ms:6.1f} ms")
    _say(f"  the bar is p95 < {BAR_MS:g} ms: {'kept' if p95 < BAR_MS else 'MISSED'}")
    return 0 if p95 < BAR_MS else 1


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def measured(rounds: int) -> list[float]:
    """Return how long each question took, in ms."""
    with ExitStack() as stack:
        world = stack.enter_context(World())
        rules = world.folder / "rules.yaml"
        rules.write_text(_RULES, "utf-8")
        stack.enter_context(Firewall(world, [rules]))
        somebody = stack.enter_context(Answerer(world))
        desktop = Desktop(world)
        wants, say = os.pipe()
        stack.callback(os.close, say)
        program = world.spawn([sys.executable, "-c", _PROGRAM], fds={0: wants})
        os.close(wants)
        ports = range(_FIRST_PORT, _FIRST_PORT + rounds + WARM_UP)
        times = [_one(port, program, say, somebody, desktop) for port in ports]
    return times[WARM_UP:]


def _one(port: int, program: Child, say: int, somebody: Answerer, desktop: Desktop) -> float:
    lines_before = len(program.stdout.lines())
    os.write(say, f"{port}\n".encode())
    question = somebody.question(dport=port)
    painted = desktop.painted(question.number)
    began_ns = int(next(program.stdout.follow(timeout_s=20, start=lines_before)))
    somebody.answer(question.number, action="reject")
    somebody.ended(question.number)
    os.write(say, b"\n")
    return (painted.at_ns - began_ns) / 1e6


if __name__ == "__main__":
    sys.exit(main())
