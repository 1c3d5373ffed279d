"""The benchmark of flows itself: that it measures, and what it says. Not how fast anything is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from nfsnitch.lab.benching.amounts import QUICK
from nfsnitch.lab.benching.cases import (
    C_WORKER,
    CACHED,
    MANY_RULES,
    NEW,
    NFSNITCH,
    NONE,
    PYTHON_WORKER,
    TRACKING,
    all_cases,
)
from nfsnitch.lab.process import same_modules
from nfsnitch.lab.waiting import PATIENCE

pytestmark = [
    pytest.mark.undisturbed,
    pytest.mark.root,
    pytest.mark.netns,
    pytest.mark.bpf,
    pytest.mark.slow,
    pytest.mark.timeout(300),
]

LATENCIES = [
    f"{prefix}_{name}_us"
    for prefix in ("connect", "crowd")
    for name in ("p50", "p90", "p99", "max")
]
OF_PROCESSES = ["cpu_s_per_1000", "queued_per_1000", "start_s", "pss_mb", "maps_mb"]
STREAMS = ["tcp_mbit_s", "udp_mbit_s", "udp_arrived_share"]
ONE_WAY = ["one_way_queued", "one_way_queued_per_s", "one_way_sent_per_s"]


@pytest.fixture(name="told", scope="module")
def fixture_told(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """Run it as quickly as it goes, and return its JSON."""
    kept: Path = tmp_path_factory.mktemp("bench") / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "nfsnitch.lab.bench", "flows", "--quick", "--json", str(kept)],
        capture_output=True,
        text=True,
        timeout=240 * PATIENCE,
        env={**os.environ, **same_modules()},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "New connections, 1 client" in done.stdout
    found: Mapping[str, Any] = json.loads(kept.read_text("utf-8"))
    return found


def test_every_contender_has_its_figures(told: Mapping[str, Any]) -> None:
    names = [case.name for case in all_cases(QUICK)]

    assert [*told["cases"]] == names
    for name, case in told["cases"].items():
        assert not case["problem"], (name, case["problem"])
        assert len(case["rounds"]) == told["rounds"] == 1
        wanted = {*LATENCIES, "flows_per_s", "failed"}
        wanted |= set() if name in {NONE, TRACKING} else set(OF_PROCESSES)
        wanted |= {*STREAMS} if name in {NONE, TRACKING, C_WORKER, PYTHON_WORKER, CACHED} else set()
        wanted |= {*ONE_WAY} if name in {C_WORKER, PYTHON_WORKER, CACHED} else set()
        assert wanted <= set(case["medians"]), name


def test_the_figures_are_possible_ones(told: Mapping[str, Any]) -> None:
    for name, case in told["cases"].items():
        of = case["medians"]
        assert of["failed"] == 0, name
        for prefix in ("connect", "crowd"):
            ordered = [of[f"{prefix}_{at}_us"] for at in ("p50", "p90", "p99", "max")]
            assert ordered[0] > 0, name
            assert ordered == sorted(ordered), name
        assert of["flows_per_s"] > 0, name
        if name not in {NONE, TRACKING}:
            assert of["cpu_s_per_1000"] > 0, name
            assert of["pss_mb"] > 0, name
        if "tcp_mbit_s" in of:
            assert of["tcp_mbit_s"] > 0, name
            assert of["udp_mbit_s"] > 0, name
            assert 0 < of["udp_arrived_share"] <= 1, name


def test_the_kernel_counts_what_goes_to_user_space(told: Mapping[str, Any]) -> None:
    cases = {name: case["medians"] for name, case in told["cases"].items()}

    for name in (C_WORKER, PYTHON_WORKER):
        assert cases[name]["queued_per_1000"] >= 1_000, name
        # No answer: each datagram is the first of its flow to them.
        assert cases[name]["one_way_queued"] == QUICK.datagrams, name
    assert 1 <= cases[CACHED]["one_way_queued"] < QUICK.datagrams / 10
    assert cases[C_WORKER]["maps_mb"] == 0
    assert cases[NEW]["queued_per_1000"] < 500


def test_what_only_a_daemon_does_is_measured_of_the_daemon(told: Mapping[str, Any]) -> None:
    cases = {name: case["medians"] for name, case in told["cases"].items()}

    for name in (NFSNITCH, MANY_RULES):
        assert cases[name]["reload_s"] > 0
        assert cases[name]["reload_connect_max_us"] > 0
        assert cases[name]["reload_failed"] == 0
        assert cases[name]["maps_mb"] > 0
    assert cases[CACHED]["idle_percent"] >= 0
