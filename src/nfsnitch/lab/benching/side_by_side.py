"""Throughput of established TCP, of all contenders side by side and in short bursts.

What they differ by is a few hundredths, and from one second to the next the machine itself differs
by more than that. So all stand ready at once, each in its own namespaces, and one burst of each
follows upon the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median

from nfsnitch.lab.benching import streams
from nfsnitch.lab.benching.amounts import Amounts
from nfsnitch.lab.benching.cases import Case
from nfsnitch.lab.benching.site import Site, built


def tcp_mbit_s(cases: Sequence[Case], amounts: Amounts) -> dict[str, float]:
    """Return the median over its bursts for each contender, by name, in Mbit/s.

    Where a burst has to be longer there are fewer, so that all of them take as long together.

    Raises:
        LabError: one of them cannot be started, or does not let the stream through.
        OSError: the same.

    """
    bursts = amounts.bursts * amounts.burst_ms // max(amounts.burst_ms, streams.shortest_ms())
    with _all_started(cases, amounts) as sites:
        for site in sites.values():
            streams.tcp_mbit_s(site, amounts.burst_ms)
        found: dict[str, list[float]] = {name: [] for name in sites}
        order = [*sites]
        for _ in range(max(1, bursts)):
            for name in order:
                found[name].append(streams.tcp_mbit_s(sites[name], amounts.burst_ms))
            order.reverse()
    return {name: median(measured) for name, measured in found.items()}


@contextmanager
def _all_started(cases: Sequence[Case], amounts: Amounts) -> Iterator[dict[str, Site]]:
    with ExitStack() as stack:
        sites: dict[str, Site] = {}
        for case in cases:
            sites[case.name] = stack.enter_context(built(amounts))
            stack.enter_context(case.start(sites[case.name]))
        yield sites
