"""Throughput of established flows: by iperf3 where it is installed, else by bench_send."""

from __future__ import annotations

import json

from nfsnitch.lab.benching.figures import Figures
from nfsnitch.lab.benching.processes import datagrams_read
from nfsnitch.lab.benching.rule_files import IPERF_PORT, SERVER_ADDRESS, STREAM_PORT
from nfsnitch.lab.benching.site import Site, iperf_path
from nfsnitch.lab.world import SERVER

_DATAGRAM_BYTES = 1_400
_READY_TIMEOUT_S = 20.0
_MBIT = 1e6


def tool() -> str:
    """Return by what it is measured here."""
    return "bench_send" if iperf_path() is None else "iperf3"


def shortest_ms() -> int:
    """Return how long a stream lasts at least: iperf3 counts in seconds."""
    return 1 if iperf_path() is None else 1_000


def tcp_mbit_s(site: Site, milliseconds: int) -> float:
    """Return what arrives of a TCP connection, in Mbit/s; it lasts `shortest_ms` at least."""
    if site.iperf is not None:
        told = _iperf(site, site.iperf, milliseconds)["end"]["sum_received"]
        return told["bits_per_second"] / _MBIT
    told_by_own = site.run(site.send, "tcp", SERVER_ADDRESS, STREAM_PORT, milliseconds).stdout
    _, count, took_ns = map(int, told_by_own.split())
    return _mbit_s(count, took_ns / 1e9)


def udp(site: Site) -> Figures:
    """Measure UDP, as it is sent, in Mbit/s, and what share of it arrived.

    All that is sent goes through the rules, the queue and the wire; how much of it the server
    then reads says more about how busy the machine is.
    """
    milliseconds = site.amounts.stream_ms
    if site.iperf is not None:
        options = ("-u", "-b", "0", "-l", str(_DATAGRAM_BYTES))
        told = _iperf(site, site.iperf, milliseconds, *options)["end"]["sum"]
        return {
            "udp_mbit_s": told["bits_per_second"] / _MBIT,
            "udp_arrived_share": 1.0 - told["lost_percent"] / 100,
        }
    before = datagrams_read(site.server.pid)
    told_by_own = site.run(site.send, "udp", SERVER_ADDRESS, STREAM_PORT, milliseconds).stdout
    sent, count, took_ns = map(int, told_by_own.split())
    came = datagrams_read(site.server.pid) - before
    return {
        "udp_mbit_s": _mbit_s(count, took_ns / 1e9),
        "udp_arrived_share": min(1.0, came / max(1, sent)),
    }


def _mbit_s(count: float, seconds: float) -> float:
    return count * 8 / seconds / _MBIT


def _iperf(
    site: Site, iperf: str, milliseconds: int, *options: str
) -> dict[str, dict[str, dict[str, float]]]:
    port = str(IPERF_PORT)
    server = site.world.spawn([iperf, "-s", "-1", "-p", port, "--forceflush"], netns=SERVER)
    server.wait_for_line(
        server.stdout, lambda line: line.startswith("Server listening"), _READY_TIMEOUT_S
    )
    seconds = max(1, round(milliseconds / 1000))
    done = site.run(
        iperf, "-c", SERVER_ADDRESS, "-p", port, "-t", seconds, "-J", *options, timeout_s=60
    )
    server.finish(_READY_TIMEOUT_S)
    told: dict[str, dict[str, dict[str, float]]] = json.loads(done.stdout)
    return told
