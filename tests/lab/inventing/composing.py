"""Makes a scenario of what was invented: what is sent, and what is to be seen of it.

What is held is sent first, so that it is held while all the rest is decided.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from lab.inventing.inventions import (
    PROGRAMS,
    RAW,
    UNKNOWN_TO_CONNTRACK,
    Invention,
    RuleFile,
    Sent,
)
from lab.inventing.packets import NOWHERE, is_malformed, looked_for, made_up
from lab.inventing.predicting import Told, flow_of, path_of, ruleset_of, ruling
from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import VERDICTS, Action, Reason, Verdict
from nfsnitch.core.flow import Flow, Protocol
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.lab.scenario.invariants import HELD
from nfsnitch.lab.scenario.model import (
    Answer,
    ExpectArrived,
    ExpectCounter,
    ExpectRecord,
    NewRules,
    Program,
    Range,
    Run,
    Scenario,
    Send,
    Step,
)
from nfsnitch.lab.scenario.standard import SERVER, STANDARD

_PORTS = range(20_000, 60_000)
_PORTS_OF_ONE = 16
WITHIN_NS = 10_000_000_000
_RUN_NS = 20_000_000_000
_MAY_BE_REJECTED = {Action.REJECT, Action.ASK}
SCRIPT = "sends.py"
SENDS = """\
import select, signal, socket, struct, sys

waits = sys.argv[1] == "waits"
connections = []
sockets = []
for each in sys.argv[2:]:
    kind, sport, daddr, dport, times = each.split(",")
    family = socket.AF_INET6 if ":" in daddr else socket.AF_INET
    if kind == "tcp":
        sock = socket.socket(family, socket.SOCK_STREAM)
        connections.append(sock)
    else:
        sock = socket.socket(family, socket.SOCK_DGRAM)
    sockets.append(sock)
    sock.setblocking(False)
    # The next one to have this port is not to wait until the kernel has forgotten this one.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.bind(("", int(sport)))
    try:
        sock.connect((daddr, int(dport)))
        if kind == "udp":
            for _ in range(int(times)):
                try:
                    sock.send(b"invented")
                except (ConnectionRefusedError, PermissionError):
                    pass  # it is told of the datagram before
    except OSError:
        pass
for sock in connections:
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    poll.poll(300)  # a SYN is sent again after a second
if waits:
    print("waits", flush=True)
    signal.pause()
"""


def scenario_of(invention: Invention, shows: str, number: int = 0) -> Scenario:
    """Return the scenario that an example is.

    Those with other *number*s send from other ports. Of a packet that is made up on a tuple which
    a socket had before, nobody can tell whose it is.
    """
    composer = _Composer(invention, _PORTS[number * _PORTS_OF_ONE % len(_PORTS)])
    return Scenario(
        file="invented.yaml",
        shows=shows,
        network=STANDARD,
        rules=invention.rules.text(),
        programs=tuple(Program(name, "python") for name in (*PROGRAMS, RAW)),
        files={SCRIPT: SENDS},
        steps=tuple(composer.steps()),
    )


class _Composer:
    def __init__(self, invention: Invention, first_port: int) -> None:
        self._invention = invention
        self._ports = itertools.count(first_port)
        self._names = itertools.count(1)
        self._answers = itertools.cycle(invention.answers)
        self._malformed = 0
        self._held = 0

    def steps(self) -> Iterator[Step]:
        """Yield all steps."""
        first = self._told(self._invention.rules, self._invention.sent)
        yield from self._phase(first, [])
        held = [each for each in first if each.is_asked]
        if self._invention.more_rules is not None:
            text = self._invention.more_rules.text()
            yield NewRules(NOWHERE, text)
            ruleset = _ruleset(self._invention.more_rules)
            held = [each._replace(ruling=ruling(ruleset, each.sent, each.sport)) for each in held]
            for each in held:
                if not each.is_asked:
                    yield from _decided(each)
            held = [each for each in held if each.is_asked]
            self._held = len(held)
            more = self._told(self._invention.more_rules, self._invention.more_sent)
            yield from self._phase(more, held)
            held += [each for each in more if each.is_asked]
        yield from self._answered(held)
        yield _counted(HELD, 0)
        yield _counted(Counter.MALFORMED.value, self._malformed)

    def _told(self, rules: RuleFile, sent: Sequence[Sent]) -> list[Told]:
        ruleset = _ruleset(rules)
        told = []
        for each in sent:
            sport = next(self._ports)
            said = ruling(ruleset, each, sport)
            # The reset with which the kernel answers what is rejected is judged as well where
            # conntrack knows of no connection: a packet more, of which nothing was foretold.
            if not (each.kind in UNKNOWN_TO_CONNTRACK and said.action in _MAY_BE_REJECTED):
                told.append(Told(each, sport, said))
        return told

    def _phase(self, told: Sequence[Told], held: Sequence[Told]) -> Iterator[Step]:
        """Yield how all is sent, and what is to be seen of what nobody is asked about."""
        readable = [each for each in told if not is_malformed(each.sent)]
        asked = [each for each in readable if each.is_asked]
        others = [each for each in readable if not each.is_asked]
        malformed = [each for each in told if is_malformed(each.sent)]
        yield from self._sent(asked, waits=True)
        yield _counted(HELD, len(held) + len(asked))
        yield from self._sent([*others, *malformed], waits=False)
        for each in others:
            yield from _decided(each)
        for each in malformed:
            self._malformed += each.sent.times
            yield _arrived(each, 0, 0)
        yield _counted(HELD, len(held) + len(asked))
        for each in asked:
            yield ExpectRecord(NOWHERE, _named(each), Range(0, 0, "0"), WITHIN_NS)
            yield _arrived(each, 0, 0)

    def _sent(self, told: Sequence[Told], *, waits: bool) -> Iterator[Step]:
        for program in PROGRAMS:
            of_program = [each for each in told if each.sent.program == program]
            if of_program:
                args = ["waits" if waits else "ends", *map(_argument, of_program)]
                yield Run(
                    NOWHERE,
                    f"${program}",
                    ("-ISc", f"exec(open('${SCRIPT}').read())", *args),
                    name=f"{program}-{next(self._names)}",
                    background=waits,
                    within_ns=_RUN_NS,
                )
        for each in told:
            if each.sent.is_raw:
                packets = (made_up(each.sent, each.sport),)
                yield Send(NOWHERE, packets, program=f"${RAW}", name=RAW, count=each.sent.times)

    def _answered(self, held: Iterable[Told]) -> Iterator[Step]:
        """Yield an answer to each question, and what is to come of it."""
        topics: dict[tuple[object, ...], list[Told]] = {}
        for each in held:
            topics.setdefault(_topic(each), []).append(each)
        for flows in topics.values():
            action = next(self._answers)
            yield Answer(NOWHERE, _question(flows[0]), action=action)
            for each in flows:
                yield from self._after(each, action)

    def _after(self, told: Told, action: str) -> Iterator[Step]:
        verdict, reason = self._verdict(action)
        fields = {
            "verdict": verdict.value,
            "action": "ask",
            "reason": reason.value,
            "rule": told.ruling.rule or "null",
        }
        yield ExpectRecord(NOWHERE, fields | _named(told), Range(1, 1, "1"), WITHIN_NS)
        yield _arrivals(told, is_out=verdict is Verdict.ACCEPT)

    def _verdict(self, action: str) -> tuple[Verdict, Reason]:
        if action != "dismiss":
            return VERDICTS[Action(action)], Reason.ANSWERED
        rules = self._invention.more_rules or self._invention.rules
        return VERDICTS[Action(rules.unanswered)], Reason.DISMISSED


def _ruleset(rules: RuleFile) -> Ruleset:
    return ruleset_of(rules.text(), {name: path_of(name) for name in (*PROGRAMS, RAW)})


def _decided(told: Told) -> Iterator[Step]:
    """Yield what is to be seen of something that the rules decide."""
    fields = {
        "verdict": told.verdict,
        "action": told.ruling.action.value,
        "reason": told.ruling.reason.value,
        "rule": told.ruling.rule or "null",
    }
    yield ExpectRecord(NOWHERE, fields | _named(told), _records(told.sent), WITHIN_NS)
    yield _arrivals(told, is_out=told.ruling.action is Action.ALLOW)


def _records(sent: Sent) -> Range:
    """Return how many records tell of it: whose packet is whose, /proc tells of each alone."""
    is_once = sent.times == 1 or not sent.is_raw
    return Range(1, 1, "1") if is_once else Range(1, sent.times, f"1..{sent.times}")


def _named(told: Told) -> dict[str, Any]:
    """Return by what records of it are told from others, and whose it is."""
    flow = flow_of(told.sent, told.sport)
    fields = {
        "exe": f"${told.sent.program}",
        "uid": "0",
        "proto": flow.proto_name,
        "daddr": told.sent.daddr,
        "packets": Range(1, math.inf, ">= 1"),
    }
    if flow.icmp is not None:
        return fields | {"icmp_type": str(flow.icmp.type)}
    if isinstance(flow.sport, int):
        return fields | {"sport": str(flow.sport), "dport": str(flow.dport)}
    return fields


def _arrivals(told: Told, *, is_out: bool) -> Step:
    if not is_out:
        return _arrived(told, 0, 0)
    is_datagram = flow_of(told.sent, told.sport).proto == Protocol.UDP
    # Of the others that are sent again conntrack lets not each one go.
    most = told.sent.times if is_datagram else math.inf
    return _arrived(told, told.sent.times if is_datagram else 1, most)


def _arrived(told: Told, least: int, most: float) -> Step:
    text = str(least) if most == least else f">= {least}"
    count = Range(least, most, text)
    packet = looked_for(told.sent, told.sport)
    return ExpectArrived(NOWHERE, SERVER, None, packet, count, WITHIN_NS)


def _counted(name: str, number: int) -> Step:
    return ExpectCounter(NOWHERE, name, Range(number, number, str(number)), WITHIN_NS)


def _argument(told: Told) -> str:
    sent = told.sent
    return f"{sent.kind},{told.sport},{sent.daddr},{sent.dport},{sent.times}"


def _topic(told: Told) -> tuple[object, ...]:
    flow = flow_of(told.sent, told.sport)
    to = (flow.icmp.type, flow.icmp.code) if flow.icmp else flow.dport
    return told.sent.program, flow.proto, flow.daddr, to


def _question(told: Told) -> dict[str, Any]:
    flow: Flow = flow_of(told.sent, told.sport)
    question = {
        "exe": f"${told.sent.program}",
        "proto": flow.proto_name,
        "daddr": told.sent.daddr,
    }
    if flow.icmp is not None:
        return question | {"icmp_type": str(flow.icmp.type)}
    return question | ({"dport": str(flow.dport)} if isinstance(flow.dport, int) else {})
