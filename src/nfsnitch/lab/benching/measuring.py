"""One contender, one round: all that is measured of it."""

from __future__ import annotations

import signal
import time
from statistics import median, quantiles

from nfsnitch.control_client import Client
from nfsnitch.lab.benching import streams
from nfsnitch.lab.benching.cases import Case, Phase
from nfsnitch.lab.benching.contenders import Running
from nfsnitch.lab.benching.figures import Connects, Figures
from nfsnitch.lab.benching.processes import (
    map_bytes,
    processor_s,
    pss_bytes,
    queued,
    wake_ups,
    with_descendants,
)
from nfsnitch.lab.benching.rule_files import FOR_CROWD, FOR_ONE, HOW_MANY, PORT, SERVER_ADDRESS
from nfsnitch.lab.benching.site import Site
from nfsnitch.lab.waiting import PATIENCE, LabError
from nfsnitch.options import DEFAULT_QUEUE_NUM
from nfsnitch.protocol import Reloaded, ReloadRequest

_NO_END = 1_000_000
"""Connections while the rules are read; more than there can be."""
_RELOADS = 3
_HEAD_S = 0.2
"""So long they go on before."""
_MEGABYTE = 1e6
_SETTLE_S = 2.0
"""After so long a daemon has nothing left to do of its start."""


def measure(site: Site, case: Case) -> Figures:
    """Start the contender there, and return the figures."""
    with case.start(site) as running:
        figures = _connections(site, running, to_others=case.to_others)
        if running.pid is not None:
            figures |= _of_processes(running)
        if Phase.STREAMS in case.phases:
            figures |= streams.udp(site)
        if Phase.ONE_WAY in case.phases and running.pid is not None:
            figures |= _one_way(site, running.pid)
        if Phase.RELOAD in case.phases and running.socket is not None:
            figures |= _reload(site, running)
    return figures


def measure_idle(site: Site, case: Case) -> Figures:
    """Start the contender there, leave it alone, and return what it does meanwhile."""
    idle_s = site.amounts.idle_s
    with case.start(site) as running:
        if running.pid is None:
            return {}
        time.sleep(_SETTLE_S)
        pids = with_descendants(running.pid)
        used_s, woken = processor_s(pids), wake_ups(pids)
        time.sleep(idle_s)
        return {
            "idle_percent": (processor_s(pids) - used_s) / idle_s * 100,
            "idle_wake_ups_per_s": (wake_ups(pids) - woken) / idle_s,
        }


def _connections(site: Site, running: Running, *, to_others: bool) -> Figures:
    amounts, pid = site.amounts, running.pid
    pids = [] if pid is None else with_descendants(pid)
    used_s = processor_s(pids)
    came = 0 if pid is None else queued(pid, DEFAULT_QUEUE_NUM)
    addresses = HOW_MANY if to_others else 1
    first, crowds = (FOR_ONE, FOR_CROWD) if to_others else (SERVER_ADDRESS, SERVER_ADDRESS)
    alone = _connect(site, (first, addresses), amounts.connects, 1)
    crowd = _connect(site, (crowds, addresses), amounts.crowd_connects, amounts.crowd)
    figures = alone.quantiles("connect") | crowd.quantiles("crowd")
    figures["flows_per_s"] = crowd.per_s
    figures["failed"] = alone.failed + crowd.failed
    if pid is not None:
        flows = alone.count + crowd.count + amounts.warm_up * (1 + amounts.crowd)
        figures["cpu_s_per_1000"] = (processor_s(pids) - used_s) / flows * 1000
        figures["queued_per_1000"] = (queued(pid, DEFAULT_QUEUE_NUM) - came) / flows * 1000
    return figures


def _connect(site: Site, where: tuple[str, int], count: int, clients: int) -> Connects:
    amounts = site.amounts
    first, addresses = where
    words = (first, PORT, count, clients, amounts.warm_up, amounts.limit_ms, addresses)
    return _read(site.run(site.connect, *words, timeout_s=60).stdout)


def _read(output: str) -> Connects:
    try:
        return Connects.read(output)
    except ValueError as problem:
        raise LabError(f"no connections were made: {problem}") from problem


def _of_processes(running: Running) -> Figures:
    pids = with_descendants(running.pid or 0)
    return {
        "start_s": running.start_s,
        "pss_mb": pss_bytes(pids) / _MEGABYTE,
        "maps_mb": map_bytes(pids) / _MEGABYTE,
    }


def _one_way(site: Site, pid: int) -> Figures:
    amounts = site.amounts
    before = queued(pid, DEFAULT_QUEUE_NUM)
    words = ("stream", SERVER_ADDRESS, PORT, amounts.datagrams, amounts.datagrams_per_s)
    count, _, took_ns = map(int, site.run(site.send, *words).stdout.split())
    came = queued(pid, DEFAULT_QUEUE_NUM) - before
    return {
        "one_way_queued": came,
        "one_way_queued_per_s": came / (took_ns / 1e9),
        "one_way_sent_per_s": count / (took_ns / 1e9),
    }


def _reload(site: Site, running: Running) -> Figures:
    """Have the rules read again, several times, while one client goes on connecting."""
    if running.socket is None or running.pid is None:
        return {}
    limit_s = site.amounts.reload_limit_s * PATIENCE
    words = (SERVER_ADDRESS, PORT, _NO_END, 1, site.amounts.warm_up, int(limit_s * 1000))
    client = site.world.spawn([str(site.connect), *map(str, words)])
    time.sleep(_HEAD_S)
    with Client(running.socket) as daemon:
        took_s = max(_reload_s(daemon, limit_s) for _ in range(_RELOADS))
    client.send(signal.SIGTERM)
    meanwhile = _read(client.finish(limit_s).stdout)
    slowest_us = max(meanwhile.times_ns) / 1_000
    return {
        "reload_s": took_s,
        "reload_connect_p50_us": median(meanwhile.times_ns) / 1_000,
        "reload_connect_p99_us": quantiles(meanwhile.times_ns, n=100)[98] / 1_000,
        "reload_connect_max_us": slowest_us,
        "reload_pss_mb": pss_bytes([running.pid]) / _MEGABYTE,
        "reload_failed": meanwhile.failed,
    }


def _reload_s(daemon: Client, limit_s: float) -> float:
    began_s = time.monotonic()
    reloaded = daemon.ask(ReloadRequest(), Reloaded, limit_s)
    if reloaded.problem is not None:
        raise LabError(f"the rules could not be read again: {reloaded.problem}")
    return time.monotonic() - began_s
