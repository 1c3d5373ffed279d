"""Recorded decisions: read back, and decided anew."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import WALL_NS, arrival, datagrams, flow, instant, ping, process
from nfsnitch.adapters import rulefile
from nfsnitch.core.commands import WriteRecord
from nfsnitch.core.decision import Action, Decision, Reason, Verdict
from nfsnitch.core.engine import Engine
from nfsnitch.core.events import FlowArrived, TimePassed
from nfsnitch.core.flow import Bypass, Flow, Protocol
from nfsnitch.core.identity import DesktopName, Identity
from nfsnitch.core.name import Name, Names, NameSource
from nfsnitch.core.opening import Opening
from nfsnitch.core.owner import Ancestor, Attribution, Executable, Forwarded, Kernel, Owner, Process
from nfsnitch.core.record import Record
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.core.script import script_of
from nfsnitch.core.text import decoded
from nfsnitch.core.unknown import Unknown
from nfsnitch.lab.replay.case import Outcome
from nfsnitch.lab.replay.deciding import Deciding
from nfsnitch.lab.replay.fields import UnreadableError
from nfsnitch.lab.replay.notes import Notes
from nfsnitch.lab.replay.recorded_cases import RecordedCases
from nfsnitch.lab.replay.records import Recorded, read_record
from replay_play import Play

NETNS = 4_026_531_840
SHA = "ab" * 32
REFUSING = "rules: [{name: no, action: deny, host: x.example, dns: refuse}]\ndefault: allow"
RULES = f"""\
version: 1
default: ask
unattributed: reject
rules:
- {{name: kernel, action: allow, owner: kernel}}
- {{name: passed on, action: deny, owner: forwarded, iface_in: br0}}
- {{name: known binary, action: allow, sha256: {SHA}, dport: 25}}
- {{name: packaged, action: allow, package: curl, dport: 26}}
- {{name: script, action: deny, exe: /usr/bin/python3*, script: /home/u/x.py}}
- {{name: unit, action: allow, unit: cron.service}}
- {{name: here, action: reject, netns: {NETNS}, dport: 22}}
- {{name: from a shell, action: deny, parent: /usr/bin/bash, uid: 1001}}
- {{name: tun, action: allow, iface: tun0}}
- {{name: names, action: allow, host: "*.example", on_unknown_name: deny, dport: 443}}
- {{name: not shop, action: ask, host: {{not: shop.test}}, on_unknown_name: reject, dport: 8443}}
- {{name: odd, action: deny, args: ".* --odd"}}
- {{name: nights, action: allow, schedule: "22:00-06:00", dport: 53}}
- {{name: day, action: deny, exe: /usr/bin/curl, dport: 80}}
- {{name: pings, action: allow, proto: icmp}}
"""


@pytest.fixture(scope="module", name="rules")
def fixture_rules(tmp_path_factory: pytest.TempPathFactory) -> Ruleset:
    path = tmp_path_factory.mktemp("rules") / "rules.yaml"
    path.write_text(RULES)
    return rulefile.load([path], rulefile.Names(lambda _: None, lambda _: frozenset()))


@pytest.fixture(name="replay")
def fixture_replay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Play:
    return Play(tmp_path, capsys)


def unknown_or(values: st.SearchStrategy[str]) -> st.SearchStrategy[str | Unknown]:
    return st.one_of(values, st.just(Unknown("nobody could tell")))


TEXTS = st.binary(max_size=12).map(decoded)
PATHS = st.one_of(
    st.sampled_from(["/usr/bin/curl", "/usr/bin/bash", "/usr/bin/python3.11"]),
    TEXTS.map(lambda text: f"/{text}"),
)
ARGS = st.one_of(
    st.just(Unknown("gone")),
    st.lists(TEXTS, max_size=4).map(tuple),
    st.sampled_from(
        [("python3", "x.py"), ("python3", "../u/x.py"), ("python3", "/home/u/x.py", "--odd")]
    ),
)
IDENTITIES = st.builds(
    Identity,
    sha256=unknown_or(st.just(SHA)),
    changed=st.one_of(st.booleans(), st.just(Unknown("not seen before"))),
    package=unknown_or(st.sampled_from(["curl", "none"])),
    previous_sha256=st.sampled_from([None, "cd" * 32]),
    package_updated=st.just(value=False),
    user=unknown_or(TEXTS),
    group=unknown_or(TEXTS),
    desktop=st.one_of(
        st.just(Unknown("no entry")), st.builds(DesktopName, TEXTS, TEXTS, st.none() | TEXTS)
    ),
)
EXECUTABLES = st.builds(
    Executable,
    unknown_or(PATHS),
    st.integers(0, 1 << 40),
    st.integers(0, 1 << 40),
    deleted=st.booleans(),
)
ANCESTORS = st.builds(Ancestor, st.integers(1, 99), st.integers(0, 1 << 60), EXECUTABLES)
PROCESSES = st.builds(
    replace,
    st.just(process()),
    exe=EXECUTABLES,
    args=ARGS,
    uid=st.integers(1_000, 1_002),
    parents=st.lists(ANCESTORS, max_size=3).map(tuple),
    cgroup=unknown_or(st.sampled_from(["/", "/system.slice/cron.service", "/user.slice"])),
    cwd=unknown_or(st.sampled_from(["/home/u", "/home/v", "/"])),
    opener=st.one_of(st.none(), st.just(Unknown("older")), ANCESTORS),
    identity=IDENTITIES,
)
OWNERS: st.SearchStrategy[Owner] = st.one_of(
    PROCESSES,
    st.just(Kernel("no socket")),
    st.just(Unknown("its socket is closed")),
    st.just(Forwarded("a guest")),
)
NAME_TEXTS = st.sampled_from(["a.example", "shop.test", "b.test"])
EACH_NAME = st.builds(
    Name,
    NAME_TEXTS,
    st.sampled_from(NameSource),
    st.booleans(),
    st.integers(0, 1_000_000_000),
    st.none() | st.integers(0, 86_400),
    st.sampled_from([None, "192.0.2.53"]),
    st.lists(NAME_TEXTS, max_size=2).map(tuple),
)
NAMES = st.lists(EACH_NAME, max_size=3, unique_by=lambda each: each.text).map(
    lambda names: Names(tuple(names))
)
PORTS = st.sampled_from([22, 25, 26, 53, 80, 443, 8443])
FLOWS = st.one_of(
    st.builds(flow, dport=PORTS),
    st.builds(datagrams, dport=PORTS),
    st.builds(flow, st.just("2001:db8::1"), PORTS),
    st.just(ping()),
    st.just(datagrams()._replace(proto=Protocol.SCTP)),
    st.just(datagrams()._replace(proto=99, sport=Unknown("no"), dport=Unknown("no ports"))),
)


@st.composite
def arrivals(draw: st.DrawFn) -> FlowArrived:
    owner = draw(OWNERS)
    rivals = tuple(draw(st.lists(PROCESSES, max_size=1)))
    event = arrival(1, of_flow=draw(FLOWS), owner=owner, rivals=rivals, seconds=3_600 * draw(HOURS))
    iface_in = "br0" if isinstance(owner, Forwarded) else event.found.iface_in
    found = event.found._replace(names=draw(NAMES), iface_in=iface_in)
    return event._replace(found=found, iface=draw(st.sampled_from(["eth0", "tun0"])))


HOURS = st.integers(0, 23)


def record_of(rules: Ruleset, event: FlowArrived) -> Record:
    """Return what a daemon records, nobody answering."""
    engine = Engine(rules, NETNS)
    commands = engine.receive(event)
    later = instant(3_600 * 24 + rules.ask_timeout_ns / 1e9)
    commands += engine.receive(TimePassed(later._replace(zone=event.now.zone)))
    (record,) = (each.record for each in commands if isinstance(each, WriteRecord))
    return record


def read_back(record: Record) -> Recorded:
    found = read_record(json.loads(record.as_line()))
    assert isinstance(found, Recorded)
    return found


def decided_anew(rules: Ruleset, record: Record) -> Outcome:
    put = RecordedCases(Notes(), count(1)).put(read_back(record))
    (told,) = Deciding(rules).put(put)
    return told.outcome


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(event=arrivals())
def test_the_rules_that_decided_decide_a_record_of_it_alike(
    rules: Ruleset, event: FlowArrived, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    record = record_of(rules, event)
    before = read_back(record).decision

    anew = decided_anew(rules, record)

    assert (anew.action, anew.rule) == (before.action, before.rule)
    if before.action != "ask":
        assert anew.reason == before.reason


@given(event=arrivals(), held_ns=st.integers(0, 10**9))
def test_what_is_read_back_would_be_recorded_in_the_same_words(
    event: FlowArrived, held_ns: int
) -> None:
    decision = Decision(Verdict.ACCEPT, Action.ALLOW, Reason.RULE, "web")
    found, held_ns = event.found, held_ns // 1_000 * 1_000
    first = Record(
        WALL_NS,
        decision,
        held_ns,
        1,
        event.flow,
        found.owner,
        found.attribution,
        NETNS,
        event.iface,
        found.rivals,
        iface_in=found.iface_in,
        names=found.names,
        monotonic_ns=2_000_000_000,
    )
    back = read_back(first)
    second = first._replace(
        held_ns=back.held_ns,
        flow=back.flow,
        owner=back.owner,
        rivals=back.rivals,
        names=back.names,
        iface=back.iface,
        iface_in=back.iface_in,
        monotonic_ns=back.wall_ns,
    )

    assert second.as_json() == first.as_json()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_that_is_no_record_is_refused_and_nothing_else(document: object) -> None:
    with pytest.raises(UnreadableError):
        read_record(document)


@given(st.data())
def test_a_record_with_any_one_value_replaced_is_read_or_refused(data: st.DataObject) -> None:
    document = json.loads(a_record().as_line())
    field = data.draw(st.sampled_from(sorted(document)))
    document[field] = data.draw(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just([{}])
    )
    try:
        found = read_record(document)
    except UnreadableError as problem:
        assert str(problem).isascii()  # noqa: PT017  it quotes nothing
    else:
        assert isinstance(found, Recorded)


def a_record(
    of_flow: Flow | Opening | Unknown | None = None,
    decision: Decision | None = None,
    names: Names | None = None,
) -> Record:
    return Record(
        WALL_NS,
        decision or Decision(Verdict.ACCEPT, Action.ALLOW, Reason.RULE, "web"),
        0,
        1,
        of_flow or flow(),
        process(),
        Attribution.FLOW_MAP,
        NETNS,
        "eth0",
        names=names or Names(),
        monotonic_ns=WALL_NS,
    )


@pytest.mark.parametrize(("argument", "cwd"), [("x.py", "/home/u"), ("../a/./x.py", "/home/u")])
def test_a_script_that_was_named_from_a_directory_is_the_same_one_again(
    argument: str, cwd: str
) -> None:
    owner = replace(process("/usr/bin/python3.11"), args=("python3", argument), cwd=cwd)
    back = read_back(a_record()._replace(owner=owner)).owner
    assert isinstance(back, Process)
    assert script_of(back) == script_of(owner) != argument


def test_a_malformed_packet_is_malformed_again(rules: Ruleset) -> None:
    decision = Decision(Verdict.DROP, Action.DENY, Reason.MALFORMED, None)
    anew = decided_anew(rules, a_record(Unknown("too short"), decision))
    assert (anew.action, anew.reason) == ("deny", "malformed")


@pytest.mark.parametrize("proto", [Protocol.UDP, Protocol.TCP])
def test_a_question_that_was_refused_is_asked_again(tmp_path: Path, proto: int) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(REFUSING)
    refusing = rulefile.load([path], rulefile.system_names())
    to_server = datagrams()._replace(proto=proto)
    asked = Names((Name("x.example", NameSource.DNS, own=True, known_ns=WALL_NS),))
    question = a_record(
        to_server, Decision(Verdict.DROP, Action.DENY, Reason.QUESTION, "no"), asked
    )

    assert decided_anew(refusing, question)[:3] == ("deny", "question", "no")
    assert decided_anew(Ruleset(default=Action.ALLOW), question).action == "allow"


def test_a_connection_without_data_is_let_out_again_where_its_name_is_awaited(
    rules: Ruleset,
) -> None:
    decision = Decision(Verdict.ACCEPT, Action.ASK, Reason.NAME_AWAITED, "names")
    record = a_record(flow(dport=443), decision)
    put = RecordedCases(Notes(), count(1)).put(read_back(record))
    outcomes = [told.outcome for told in Deciding(rules).put(put)]
    assert [each[:3] for each in outcomes] == [("allow", "name-awaited", "names")]


def test_lines_that_cannot_be_read_are_told_with_their_number_and_openings_are_counted(
    replay: Play,
) -> None:
    opening = a_record(Opening(Bypass.PACKET, 3, 0))
    lines = [
        a_record().as_line(),
        "{",
        "[" * 100_000,
        json.dumps({"time": "\u202e\x1b[31m"}),
        "",
        opening.as_line(),
    ]
    path = replay.records(lines)
    document = replay.document(path, "--rules", replay.rules("default: deny\nrules: []"))

    assert replay.status == 0
    assert document["problems"] == [
        f"{path}:2: it is no JSON",
        f"{path}:3: it is no JSON",
        f"{path}:4: time is no moment in UTC",
    ]
    assert document["read"] == {
        "records": 5,
        "records that cannot be read": 3,
        "records of packet sockets that were opened": 1,
    }
    assert document["changes"] == [{"from": "allow", "to": "deny", "flows": 1}]
