"""``python -m nfsnitch.lab.bench rules``: what it costs to have many rules, against the bars.

Rules are made up here as a rule file would have them: each names a program, a destination, a port,
or several of these. Each number of rules is measured by a process of its own, without a packet and
without a kernel: a whole decision of the engine (the event of a packet in; verdict, record and
counters out), what the rules take of it, and what a walk through all of them would. That is of a
hundred different flows, as a desktop has them in a minute; of a thousand, chosen by chance, most of
what is looked at has left the processor's caches since.
"""

from __future__ import annotations

import gc
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from nfsnitch.adapters.rulefile import system_names
from nfsnitch.adapters.rulefile.fields import RULE_FIELDS
from nfsnitch.adapters.rulefile.values import Known
from nfsnitch.core.case import Case
from nfsnitch.core.decision import Action, Reason
from nfsnitch.core.engine import Engine
from nfsnitch.core.events import FlowArrived
from nfsnitch.core.flow import Family, Flow, Protocol
from nfsnitch.core.instant import Instant
from nfsnitch.core.owner import Attribution, Executable, Finding, Process
from nfsnitch.core.rule import Condition, Rule
from nfsnitch.core.rule_index import RuleIndex
from nfsnitch.core.ruleset import Ruleset, Ruling
from nfsnitch.large import settle, uncollected

NUMBERS = (10, 100, 1_000, 10_000, 100_000)
MOST_RATIO, MOST_BUILD_S, MOST_MB = 1.2, 0.5, 120.0
_FLOWS, _MORE_FLOWS = 100, 1_000
_ROUNDS, _BATCH = 15, 10
_MOST_WALKED = 10_000
_SEED = 7
_PORTS = ("22", "53", "80", "123", "443", "853", "993", "5222", "8080", "8000-8999", "1024-65535")
_BLOCKS = (16, 24, 24, 28, 32, 32, 32, 32)
_SHAPES = (("exe", "dport"), ("exe", "daddr"), ("exe", "daddr", "dport"), ("daddr", "dport"))


class Told(NamedTuple):
    """What one number of rules has cost."""

    rules: int
    decision_ns: float
    """Of the engine; median of `_FLOWS`."""
    rules_ns: float
    """What the rules take of it."""
    cold_ns: float
    """Of the engine; median of `_MORE_FLOWS`."""
    walk_ns: float | None
    """The same for a walk through all rules; None: nobody waits for that."""
    build_s: float
    rules_mb: float
    index_mb: float


def main() -> int:
    """Measure, and say what came of it; return the exit status."""
    _say("  rules   decision    rules      a walk   1,000 flows   index made      rules     index")
    all_told = [_measured_apart(number) for number in NUMBERS]
    for told in all_told:
        walk = "" if told.walk_ns is None else f"{told.walk_ns / 1e3:,.1f} µs"
        _say(
            f"{told.rules:>7,} {told.decision_ns / 1e3:7.1f} µs {told.rules_ns / 1e3:5.1f} µs"
            f" {walk:>11} {told.cold_ns / 1e3:10.1f} µs {told.build_s * 1e3:9.1f} ms"
            f" {told.rules_mb:7.1f} MB {told.index_mb:6.1f} MB"
        )
    fewest, most = all_told[0], all_told[-1]
    memory = most.rules_mb + most.index_mb
    kept = (
        _row("decision, to that with 10", most.decision_ns / fewest.decision_ns, MOST_RATIO, "x"),
        _row("index made", most.build_s, MOST_BUILD_S, "s"),
        _row("memory of rules and index", memory, MOST_MB, "MB"),
    )
    return 0 if all(kept) else 1


def _row(what: str, value: float, most: float, unit: str) -> bool:
    is_kept = value <= most
    word = "kept" if is_kept else "MISSED"
    _say(f"  {what:<27} {value:7.2f} {unit:<3} the bar is {most:g} {unit}: {word}")
    return is_kept


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _measured_apart(number: int) -> Told:
    argv = [sys.executable, "-m", "nfsnitch.lab.bench_rules", str(number)]
    told = subprocess.run(argv, check=True, stdout=subprocess.PIPE)
    return Told(*json.loads(told.stdout))


def measured(number: int) -> Told:
    """Measure in this process, which should have nothing else in it."""
    chance = random.Random(_SEED)  # noqa: S311  the same each time
    texts = list(_texts(chance, number))
    gc.collect()
    before = _memory_bytes()
    rules = _rules(texts)
    gc.collect()
    with_rules = _memory_bytes()
    with uncollected():  # as the daemon reads them
        began_s = time.thread_time()
        index = RuleIndex(rules)
        build_s = time.thread_time() - began_s
        del index
        ruleset = Ruleset(rules, Action.DENY)
    settle(number)
    with_index = _memory_bytes()
    more_cases = list(_cases(chance, texts))
    cases = more_cases[:_FLOWS]
    walk_ns = None
    if number <= _MOST_WALKED:
        walk_ns = _median_ns(lambda: lambda case: _walked(ruleset, case), cases, 3)
    rules_ns = _median_ns(lambda: ruleset.rule_on, cases, _ROUNDS)
    arrivals = [_arrival(at, case) for at, case in enumerate(more_cases)]
    decision_ns, cold_ns = (
        _median_ns(lambda: Engine(ruleset, 1).receive, some, _ROUNDS)
        for some in (arrivals[:_FLOWS], arrivals)
    )
    wrong = (
        [] if walk_ns is None else [_ for _ in cases if _walked(ruleset, _) != ruleset.rule_on(_)]
    )
    if wrong:
        raise AssertionError(f"{len(wrong)} cases are decided otherwise than by a walk")
    sizes = (with_rules - before) / 1e6, (with_index - with_rules) / 1e6
    return Told(number, decision_ns, rules_ns, cold_ns, walk_ns, build_s, *sizes)


def _median_ns(
    decider: Callable[[], Callable[[Any], object]], cases: Sequence[object], rounds: int
) -> float:
    """Return the median, over all cases, of the least that a case took of several times.

    Each time a new *decider* is made, which has seen nothing yet.
    """
    batches = [cases[at : at + _BATCH] for at in range(0, len(cases), _BATCH)]
    least = [float("inf")] * len(batches)
    for _ in range(rounds):
        decide = decider()
        for at, batch in enumerate(batches):
            began_ns = time.perf_counter_ns()
            for case in batch:
                decide(case)
            took_ns = (time.perf_counter_ns() - began_ns) / len(batch)
            least[at] = min(least[at], took_ns)
    return median(least)


def _arrival(number: int, case: Case) -> FlowArrived:
    """Return the event of a packet of a socket of its own."""
    found = Finding(case.owner, Attribution.QUEUE_PROBE, number)
    return FlowArrived(case.now, number, case.flow, found, case.iface)


def _walked(ruleset: Ruleset, case: Case) -> Ruling:
    """Return what a walk through all rules says."""
    for rule in ruleset.rules:
        for condition in rule.conditions:
            if not condition.matches(case):
                break
        else:
            return Ruling(rule.action, Reason.RULE, rule.name)
    return ruleset.fallback(case.owner)


def _texts(chance: random.Random, number: int) -> Iterator[dict[str, str]]:
    """Yield the fields of rules; some will never come to be asked, as in any large rule file."""
    for at in range(number):
        fields = {
            "exe": f"/opt/vendor{chance.randrange(max(number // 10, 2))}/bin/program",
            "daddr": _block(chance),
            "dport": chance.choice((*_PORTS, str(chance.randrange(1, 65_536)))),
        }
        yield {name: fields[name] for name in _SHAPES[at % len(_SHAPES)]}


def _block(chance: random.Random) -> str:
    bits = chance.choice(_BLOCKS)
    first = chance.randrange(1 << 24, 224 << 24) >> (32 - bits) << (32 - bits)
    return f"{IPv4Address(first)}/{bits}"


def _rules(texts: Sequence[dict[str, str]]) -> tuple[Rule, ...]:
    """Return the rules as the reader of rule files makes them: equal fields are kept once."""
    known = Known(system_names(), {})
    conditions: dict[tuple[str, str], Condition] = {}
    actions = (Action.ALLOW, Action.DENY, Action.REJECT)
    rules = []
    for at, fields in enumerate(texts):
        for name, text in fields.items():
            if (name, text) not in conditions:
                field = RULE_FIELDS[name]
                parsed: list[Any] = [*field.parse(text, known)]
                conditions[name, text] = field.condition(parsed, False)  # noqa: FBT003
        ordered = tuple(conditions[each, fields[each]] for each in RULE_FIELDS if each in fields)
        rules.append(Rule(f"rule {at}", actions[at % 3], ordered, f"rules.yaml:{4 * at}"))
    return tuple(rules)


def _cases(chance: random.Random, texts: Sequence[dict[str, str]]) -> Iterator[Case]:
    """Yield flows of which half are spoken of by a rule, and half by none or by chance."""
    for at in range(_MORE_FLOWS):
        fields = dict(chance.choice(texts)) if at % 2 else {}
        exe = fields.get(
            "exe", f"/opt/vendor{chance.randrange(max(len(texts) // 10, 2))}/bin/program"
        )
        address = fields.get("daddr", _block(chance)).partition("/")[0]
        port = fields.get("dport", str(chance.randrange(1, 65_536))).partition("-")[0]
        yield _case(exe, IPv4Address(address).packed, int(port))


def _case(exe: str, daddr: bytes, dport: int) -> Case:
    saddr = bytes((192, 0, 2, 2))
    flow = Flow(Family.IPV4, Protocol.TCP.value, saddr, daddr, 40_000, dport)
    owner = Process(
        pid=9,
        tid=9,
        start_time_ns=1,
        uid=1_000,
        gid=1_000,
        exe=Executable(exe, 1, 1),
        args=(exe,),
        comm="program",
        parents=(),
        cgroup_id=1,
        cgroup="/",
        netns=1,
    )
    return Case(flow, owner, "eth0", Instant(1, 1))


def _memory_bytes() -> int:
    resident = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return resident * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measured(int(sys.argv[1]))))
