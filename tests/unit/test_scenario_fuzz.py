"""Whatever is read as a scenario is one, or has problems with places."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nfsnitch.adapters.rulefile.problems import Problem, RuleFileError
from nfsnitch.lab.scenario import model
from scenario_text import LEAST, read

_words = st.sampled_from(
    [
        *("shows", "needs", "fresh", "options", "lets_by", "network", "programs", "files"),
        *("rules", "steps", "wires", "hosts", "access", "client", "server", "eth0", "ends"),
        *("addresses", "routes", "to", "via", "sysctls", "masquerades", "services", "echo"),
        *("run", "program", "args", "as", "send", "from", "frame", "packet", "packets", "hex"),
        *("fragment", "order", "truncate", "count", "every", "within", "answer", "question"),
        *("firewall", "kill", "command", "argv", "clock", "+1h", "expect", "record", "arrived"),
        *("counter", "held", "end", "status", "at", "dport", "verdict", "exe", "$good", "good"),
        *("Ether", "IP", "IPv6", "UDP", "TCP", "ICMP", "DNS", "Raw", "DHCP", "IPerror", "SCTP"),
        *("src", "dst", "flags", "options", "load", "qd", "type", "chksum", "len", "ihl", "plen"),
        *("192.0.2.1", "192.0.2.0/24", "::1", "SA", "~R", "hex:00ff", "45000014", "$nothing"),
        *("0", "1", "8", "53", "0x10", "-1", "65536", "99999999999999999999", "3..5", ">= 1"),
        *("5s", "20ms", "true", "*", "", "a\nb", "MSS", "AAAA", "own-machine", "sctp", "default"),
    ]
)
_nodes = st.recursive(
    _words | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_words, inner, max_size=5),
    max_leaves=25,
)


def _read_or_refused(text: str) -> None:
    """Read a text: a scenario, or problems with places that are in it."""
    scenario, problems = _outcome(text)
    assert isinstance(scenario, model.Scenario) != bool(problems)
    lines = text.split("\n")
    for problem in problems:
        assert 1 <= problem.position.line <= len(lines)
        assert 1 <= problem.position.column <= len(lines[problem.position.line - 1]) + 1
        assert all((problem.what, problem.why, problem.instead))
        assert str(problem).isprintable()


def _outcome(text: str) -> tuple[model.Scenario | None, tuple[Problem, ...]]:
    try:
        return read(text), ()
    except RuleFileError as error:
        return None, error.problems


fuzzed: Callable[..., Any] = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@fuzzed
@given(_nodes)
def test_any_tree_is_a_scenario_or_has_problems(tree: Any) -> None:  # noqa: ANN401  any JSON
    _read_or_refused(json.dumps(tree, ensure_ascii=False))


@fuzzed
@given(st.dictionaries(_words, _nodes, max_size=5))
def test_any_step_is_one_or_has_problems(tree: Any) -> None:  # noqa: ANN401  any JSON
    whole = {"shows": "a", "rules": "b", "steps": [tree, {"expect": {"record": {"dport": "1"}}}]}
    _read_or_refused(json.dumps(whole, ensure_ascii=False))


@fuzzed
@given(
    st.dictionaries(
        st.sampled_from(["Ether", "IP", "IPv6", "UDP", "TCP", "ICMP", "DNS", "Raw", "DHCP", "ARP"]),
        st.dictionaries(_words, _nodes, max_size=3),
        max_size=4,
    ),
    st.dictionaries(st.sampled_from(["fragment", "order", "truncate", "hex"]), _nodes, max_size=2),
)
def test_any_packet_is_built_or_has_problems(layers: Any, shape: Any) -> None:  # noqa: ANN401  any JSON
    packet = layers | shape
    steps = [{"send": {"packet": packet}}, {"expect": {"arrived": layers}}]
    _read_or_refused(json.dumps({"shows": "a", "rules": "b", "steps": steps}))


@fuzzed
@given(st.text(max_size=80) | st.text("{}[]:,- \n'\"&*!|>#%@`abc$", max_size=60))
@example("---")
@example("shows: a\nsteps:\n-")
def test_any_text_is_a_scenario_or_has_problems(text: str) -> None:
    _read_or_refused(text)


@fuzzed
@given(st.data())
def test_a_good_file_with_something_else_in_one_place_has_problems_or_none(data: Any) -> None:  # noqa: ANN401
    good = (
        "programs: {good: curl}\n"
        f"{LEAST}"
        "  - run: {program: $good, args: [-s], as: first, within: 5s}\n"
        "  - send: {packet: {IP: {dst: 198.51.100.2}, TCP: {flags: SA, options: [{MSS: 9}]}}}\n"
        "  - expect: {record: {verdict: allow, held_ms: '>= 0'}, count: 1}\n"
        "  - expect: {end: first, status: 0}\n"
    )
    at = data.draw(st.integers(0, len(good)))
    cut = data.draw(st.integers(0, 6))
    put = data.draw(_words | st.text(max_size=4))
    _read_or_refused(good[:at] + put + good[at + cut :])
