"""Records: what people and programs read afterwards."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from builders import WALL_NS, flow, process
from nfsnitch.core.decision import Action, Decision, Reason, Verdict
from nfsnitch.core.flow import NO_PORTS, Flow, Icmp, Protocol
from nfsnitch.core.owner import Ancestor, Attribution, Executable, Kernel, Owner
from nfsnitch.core.record import Record, owner_json
from nfsnitch.core.text import decoded
from nfsnitch.core.unknown import Unknown

ALLOWED = Decision(Verdict.ACCEPT, Action.ALLOW, Reason.RULE, "web")
SPECIFIED = {
    *("time", "verdict", "action", "rule", "reason", "attribution", "held_ms"),
    *("pid", "start_time", "exe", "args", "uid", "gid", "cgroup", "parents", "comm", "netns"),
    *("proto", "saddr", "sport", "daddr", "dport", "iface"),
}


def a_record(owner: Owner | None = None, of_flow: Flow | Unknown | None = None) -> Record:
    return Record(
        WALL_NS + 123_456_789,
        ALLOWED,
        1_500_000,
        1,
        of_flow or flow(),
        owner or process(),
        Attribution.FLOW_MAP,
        4_026_531_840,
        "eth0",
    )


def test_a_record_has_every_field_that_is_promised_whoever_the_owner_is() -> None:
    for owner in (process(), Kernel("no socket"), Unknown("gone")):
        fields = a_record(owner).as_json()
        assert fields.keys() >= SPECIFIED


def test_a_record_names_times_in_utc_and_milliseconds() -> None:
    fields = a_record().as_json()

    assert fields["time"] == "2027-01-15T08:00:00.123456Z"
    assert fields["held_ms"] == 1.5


def test_what_is_not_known_says_why_instead_of_looking_like_a_value() -> None:
    fields = a_record(Unknown("its socket is closed")).as_json()

    assert fields["owner"] == "unknown"
    assert fields["exe"] == {"unknown": "its socket is closed"}
    assert fields["pid"] == {"unknown": "its socket is closed"}


def test_unit_app_and_script_are_named_where_they_can_be_told_and_else_left_away() -> None:
    python = replace(
        process("/usr/bin/python3.11"),
        args=("python3", "/opt/x.py"),
        cgroup="/user.slice/user-5.slice/user@5.service/app.slice/snap.x.y-1.scope",
    )
    fields = a_record(python).as_json()
    assert fields["script"] == "/opt/x.py"
    assert fields["unit"] == "user@5.service/snap.x.y-1.scope"
    assert fields["app"] == "snap:x"
    in_cron = replace(process(), cgroup="/system.slice/cron.service")
    assert a_record(in_cron).as_json()["unit"] == "cron.service"
    assert not {"script", "unit", "app"} & a_record(process()).as_json().keys()


def test_a_record_of_a_malformed_packet_has_no_addresses_but_the_reason() -> None:
    fields = a_record(of_flow=Unknown("too short")).as_json()

    assert fields["daddr"] == {"unknown": "too short"}


def test_an_icmp_record_has_type_and_code_in_place_of_ports() -> None:
    ping = flow()._replace(proto=Protocol.ICMP, sport=NO_PORTS, dport=NO_PORTS, icmp=Icmp(8, 0, 77))

    fields = a_record(of_flow=ping).as_json()

    assert (fields["icmp_type"], fields["icmp_code"]) == (8, 0)
    assert fields["dport"] == {"unknown": "this protocol has no ports"}


def test_parents_stand_nearest_first_with_pid_and_program() -> None:
    assert a_record().as_json()["parents"] == [
        {"pid": 4_700, "start_time": 4_000_000_000, "exe": "/usr/bin/bash"}
    ]


def test_who_opened_a_socket_is_named_where_that_is_another_or_nobody_knows() -> None:
    shell = Ancestor(200, 5_000_000_000, Executable("/bin/sh", 1, 2))
    older = Unknown("the socket is older")

    assert "opener" not in owner_json(process())
    assert owner_json(replace(process(), opener=shell))["opener"] == {
        "pid": 200,
        "start_time": 5_000_000_000,
        "exe": "/bin/sh",
    }
    assert owner_json(replace(process(), opener=older))["opener"] == {"unknown": older.reason}


@given(st.binary(max_size=40), st.lists(st.binary(max_size=20), max_size=4))
def test_a_line_is_one_line_of_ascii_whatever_a_program_calls_itself(
    path: bytes, args: list[bytes]
) -> None:
    odd = process()
    odd = replace(
        odd,
        exe=replace(odd.exe, path="/" + decoded(path)),
        args=tuple(decoded(each) for each in args),
    )

    line = a_record(odd).as_line()

    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["exe"] == "/" + decoded(path)
