"""What nfsnitch sends itself passes while it fetches a list, and nobody else with it."""

from dataclasses import replace

import pytest

from builders import datagrams, flow, process
from nfsnitch.core.own import Fetching, Own
from nfsnitch.core.owner import Attribution, Finding, Owner
from nfsnitch.core.unknown import Unknown

FETCHER = process("/usr/bin/python3.11", pid=77)
FETCHING = Fetching(77, FETCHER.start_time_ns + 3_000_000, 8_080)


def found(owner: Owner, *rivals: Owner) -> Finding:
    return Finding(owner, Attribution.FLOW_MAP, 1, rivals)


def own() -> Own:
    made = Own()
    made.fetching = FETCHING
    return made


@pytest.mark.parametrize("dport", [53, 80, 443, 8_080])
def test_it_may_connect_to_where_a_list_may_be(dport: int) -> None:
    assert own().sends(flow(dport=dport), found(FETCHER))
    assert own().sends(datagrams(dport=dport), found(FETCHER))


def test_it_may_not_connect_elsewhere_nor_after_it_is_done() -> None:
    assert not own().sends(flow(dport=25), found(FETCHER))
    assert not Own().sends(flow(dport=80), found(FETCHER))


@pytest.mark.parametrize(
    "finding",
    [
        found(replace(FETCHER, pid=78)),
        found(replace(FETCHER, start_time_ns=FETCHER.start_time_ns + 1_000_000_000)),
        found(FETCHER, process()),
        found(Unknown("nobody knows")),
    ],
)
def test_nobody_else_may(finding: Finding) -> None:
    assert not own().sends(flow(dport=80), finding)
