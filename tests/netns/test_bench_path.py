"""The clock at each stage of a packet's way: that all of them are gone through. Not how fast."""

from __future__ import annotations

import pytest

from nfsnitch.lab.benching.amounts import QUICK
from nfsnitch.lab.benching.path import ROWS, measured
from nfsnitch.lab.benching.path_daemon import STAGES

pytestmark = [
    pytest.mark.undisturbed,
    pytest.mark.root,
    pytest.mark.netns,
    pytest.mark.bpf,
    pytest.mark.timeout(120),
]

OF_EACH_FLOW = ("worker", "parse", "owner", "identity", "names", "rules", "verdict", "record")


def test_each_stage_is_gone_through_and_those_of_a_packet_once_for_each_flow() -> None:
    stages, processor_us = measured(QUICK)

    flows = QUICK.connects + QUICK.warm_up
    assert {name: stages[name].times for name in OF_EACH_FLOW} == dict.fromkeys(OF_EACH_FLOW, flows)
    assert stages["engine"].times >= flows
    assert {name for name, _, _ in ROWS} <= {name for name, _, _ in STAGES}
    for stage in stages.values():
        assert 0 < stage.p50_us <= stage.p99_us, stage
    # Those before the verdict are a part of what a flow takes, however long each waits.
    assert processor_us > 0
