"""How much is measured: enough for a page, or as little as shows that it works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Amounts:
    """Of one round, unless it says otherwise."""

    rounds: int
    budget_s: float
    """No round begins that would likely not be over by then."""
    connects: int
    """One after the other, by one client."""
    crowd_connects: int
    """By `crowd` clients at once, together."""
    crowd: int
    warm_up: int
    """Connections of each client that do not count."""
    limit_ms: int
    """At most so long for either; with many rules there may be fewer connections."""
    stream_ms: int
    """UDP of an established flow."""
    bursts: int
    """Of an established TCP connection, of each contender; once, all of them side by side."""
    burst_ms: int
    datagrams: int
    """Of a UDP flow without an answer."""
    datagrams_per_s: int
    held: int
    """Flows that wait for an answer, in the background."""
    few_rules: int
    some_rules: int
    many_rules: int
    many_rounds: int
    """Rounds with `many_rules`, at most: to read them takes its time."""
    idle_s: float
    """Once."""
    reload_limit_s: float


FULL = Amounts(
    rounds=7,
    budget_s=240.0,
    connects=2_000,
    crowd_connects=4_000,
    crowd=8,
    warm_up=50,
    limit_ms=3_000,
    stream_ms=700,
    bursts=120,
    burst_ms=150,
    datagrams=100_000,
    datagrams_per_s=100_000,
    held=1_000,
    few_rules=10,
    some_rules=1_000,
    many_rules=100_000,
    many_rounds=5,
    idle_s=20.0,
    reload_limit_s=120.0,
)
QUICK = Amounts(
    rounds=1,
    budget_s=30.0,
    connects=200,
    crowd_connects=400,
    crowd=8,
    warm_up=5,
    limit_ms=1_000,
    stream_ms=100,
    bursts=2,
    burst_ms=50,
    datagrams=2_000,
    datagrams_per_s=20_000,
    held=50,
    few_rules=10,
    some_rules=100,
    many_rules=1_000,
    many_rounds=1,
    idle_s=1.0,
    reload_limit_s=30.0,
)
