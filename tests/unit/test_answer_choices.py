"""What an answer is offered for, and the rule it makes: that one which was meant, and no wider."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from builders import WALL_NS, datagrams, executable, flow, instant, ping, process
from nfsnitch.adapters.rulefile.answers import EMPTY, read_answers
from nfsnitch.adapters.rulefile.files import Source
from nfsnitch.adapters.rulefile.names import Names
from nfsnitch.adapters.rulefile.problems import Refused
from nfsnitch.asking.composing import composed, scope_of
from nfsnitch.asking.duration import parse_duration
from nfsnitch.core.case import Case
from nfsnitch.core.choices import wheres, whos
from nfsnitch.core.decision import Action, Reason
from nfsnitch.core.flow import LATER_FRAGMENT, NO_PORTS, Flow, Protocol, packed_address
from nfsnitch.core.identity import NOT_IDENTIFIED
from nfsnitch.core.owner import (
    Ancestor,
    Attribution,
    Executable,
    Finding,
    Forwarded,
    Kernel,
    Owner,
    Process,
)
from nfsnitch.core.question import Question
from nfsnitch.core.rule import Rule
from nfsnitch.core.ruleset import Ruling
from nfsnitch.core.script import script_of
from nfsnitch.core.unknown import Unknown
from nfsnitch.protocol.words import Where, Who

USERS = {"alice": 1_000, "bob 2": 1_001}
NAMES = Names(USERS.get, lambda _service: frozenset())
NOT_KNOWN = Unknown("for the test")
PYTHON = "/usr/bin/python3.11"
CONTAINER = f"/system.slice/docker-{'3f2a90c1' * 8}.scope"
SESSION = "/user.slice/user-1000.slice/user@1000.service/app.slice"
DURATIONS = ("process", "restart", "forever", "15m", "until 2030-06-30T18:00")


def running(*args: str) -> Process:
    return replace(process(PYTHON), args=args)


def question(
    owner: Owner | None = None, of_flow: Flow | None = None, rivals: tuple[Owner, ...] = ()
) -> Question:
    found = Finding(owner or process(), Attribution.FLOW_MAP, 1, rivals)
    ruling = Ruling(Action.ASK, Reason.DEFAULT, None)
    return Question(1, instant(), 0, ruling, of_flow or flow(), found, "eth0", 1)


def rule_of(text: str) -> Rule:
    return read_answers(Source(0, "answers", EMPTY), NAMES).block_of(text, NAMES).rule


def rule_for(
    asked: Question, who: Who, where: Where, action: Action = Action.ALLOW, lasts: str = "restart"
) -> Rule:
    duration = parse_duration(lasts, WALL_NS)
    return rule_of(composed(asked, scope_of(asked, who, where), action, duration, frozenset()))


def matches(rule: Rule, owner: Owner, of_flow: Flow) -> bool:
    return rule.first_mismatch(Case(of_flow, owner, "eth0", instant())) is None


def owners_of(asked: Question) -> tuple[Owner, ...]:
    return (asked.found.owner, *asked.found.rivals)


ODD = "*?[]\\{}()^$.|+#:&!%@`'\" -,~=>é—\u202e\u200b\ufeff\U0001f600\xa0"
"""Characters that mean something to YAML, globs, regular expressions or eyes."""
NAME = st.text(st.sampled_from(f"{ODD}ab1"), min_size=1, max_size=12)
PATH = st.lists(NAME.filter(lambda part: part not in {".", ".."}), min_size=1, max_size=3).map(
    lambda parts: f"/{'/'.join(parts)}"
)
ARGS = st.lists(st.text(st.sampled_from(f"{ODD}ab1"), max_size=12), min_size=1, max_size=4)
CGROUPS = st.sampled_from(
    [
        "/",
        "/system.slice/cron.service",
        r"/system.slice/a\x2db@c\x2f.service",
        f"{SESSION}/app-flatpak-org.x.Y\\x2d\\x2a-12.scope",
        "/user.slice/user-1000.slice/user@1000.service/snap.fire_fox.a.scope",
        CONTAINER,
        "/lxc/a b*",
        "/../elsewhere",
    ]
)
PROGRAMS = st.one_of(
    PATH.map(executable),
    st.just(executable(PYTHON)),
    PATH.map(lambda path: Executable(NOT_KNOWN, 1, 2, inside=path)),
)
PROCESSES = st.builds(
    replace,
    st.just(process()),
    exe=PROGRAMS,
    args=st.one_of(ARGS.map(tuple), PATH.map(lambda path: ("python3", path)), st.just(NOT_KNOWN)),
    parents=st.one_of(st.just(()), PATH.map(lambda path: (Ancestor(1, 0, executable(path)),))),
    cgroup=st.one_of(CGROUPS, st.just(NOT_KNOWN)),
    identity=st.sampled_from([NOT_IDENTIFIED, replace(NOT_IDENTIFIED, user="alice")]),
)
OWNERS = st.one_of(
    PROCESSES, st.sampled_from([Kernel("for the test"), Forwarded("for the test"), NOT_KNOWN])
)
ADDRESSES = st.one_of(
    st.sampled_from(["0.0.0.0", "::", "::1", "::ffff:192.0.2.1"]).map(packed_address),  # noqa: S104
    st.binary(min_size=4, max_size=4),
    st.binary(min_size=16, max_size=16),
)


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    """Return where somebody may want to go."""
    daddr = draw(ADDRESSES)
    base = flow() if len(daddr) == 4 else flow("2001:db8::1")
    proto = draw(st.one_of(st.sampled_from(list(Protocol)), st.integers(0, 255)))
    has_ports = proto in {Protocol.TCP, Protocol.UDP, Protocol.SCTP, Protocol.UDPLITE}
    port = st.one_of(st.integers(0, 65_535), st.just(LATER_FRAGMENT))
    dport = draw(port) if has_ports else NO_PORTS
    return base._replace(proto=proto, daddr=daddr, dport=dport)


QUESTIONS = st.builds(
    question, OWNERS, flows(), st.one_of(st.just(()), st.lists(PROCESSES, max_size=2).map(tuple))
)


@given(QUESTIONS, st.data())
def test_whatever_is_offered_makes_a_rule_that_matches_what_was_asked(
    asked: Question, data: st.DataObject
) -> None:
    action = data.draw(st.sampled_from([Action.ALLOW, Action.DENY, Action.REJECT]))
    is_one_process = isinstance(asked.found.owner, Process) and not asked.found.rivals
    lasts = data.draw(st.sampled_from(DURATIONS[0 if is_one_process else 1 :]))

    for who in whos(asked):
        for where in wheres(asked):
            rule = rule_for(asked, who, where, action, lasts)
            assert rule.action is action
            assert all(matches(rule, owner, asked.flow) for owner in owners_of(asked))


PLAIN = st.one_of(PATH.map(process), PATH.map(lambda path: running("python3", path)))


@given(PLAIN, st.lists(PATH.map(process), max_size=2), flows(), PLAIN)
def test_the_narrowest_rule_matches_no_other_program_and_no_other_destination(
    one: Process, more: list[Process], there: Flow, other: Process
) -> None:
    owners = [one, *(more if one.exe.path != PYTHON else [])]
    asked = question(one, there, tuple(owners[1:]))
    assume(Where.ADDRESS_PORT in wheres(asked))
    rule = rule_for(asked, Who.PROGRAM, Where.ADDRESS_PORT)
    named = {(each.exe, script_of(each)) for each in owners}

    assert matches(rule, other, there) == ((other.exe, script_of(other)) in named)
    daddr = bytes([*there.daddr[:-1], there.daddr[-1] ^ 1])
    assert not matches(rule, one, there._replace(daddr=daddr))
    assert not matches(rule, one, there._replace(proto=there.proto ^ 1))
    if not isinstance(there.dport, Unknown):
        assert not matches(rule, one, there._replace(dport=there.dport ^ 1))


@given(PATH, st.data())
def test_a_path_stands_for_itself_whatever_its_characters_mean_elsewhere(
    path: str, data: st.DataObject
) -> None:
    rule = rule_for(question(process(path)), Who.PROGRAM, Where.ANYWHERE)
    at = data.draw(st.integers(1, len(path) - 1))
    other = path[:at] + data.draw(st.text("xab*?[]\\", max_size=2)) + path[at + 1 :]

    assert matches(rule, process(path), flow())
    assert matches(rule, process(other), flow()) == (other == path)


@given(ARGS, ARGS)
def test_an_interpreter_without_a_script_is_known_by_its_arguments(
    args: list[str], others: list[str]
) -> None:
    args, others = ["python3", "-c", *args], ["python3", "-c", *others]
    rule = rule_for(
        question(replace(process(PYTHON), args=tuple(args))), Who.PROGRAM, Where.ANYWHERE
    )
    other = replace(process(PYTHON), args=tuple(others))

    assert matches(rule, other, flow()) == (" ".join(args) == " ".join(others))


@pytest.mark.parametrize(
    ("owner", "rivals"),
    [
        (process("/usr/bin/x\n- name: y"), ()),
        (process("/usr/bin/\x1b[2J"), ()),
        (process("/usr/bin/\udcff"), ()),
        (process("/usr/bin/\u2028"), ()),
        (process(f"/usr/{'x' * 2_000}"), ()),
        (process("(unreachable)/usr/bin/curl"), ()),
        (process("/usr//bin/curl"), ()),
        (process("/usr/bin/.."), ()),
        (running("python3", "-c", "import x\nx()"), ()),
        (running("python3", "/"), ()),
        (process(), (process("/usr/bin/\udcff"),)),
        (process(), (NOT_KNOWN,)),
        (process(), (running("python3", "/a.py"),)),
        (running("python3", "/b.py"), (running("python3", "/a.py"),)),
        (running("python3", "/b.py"), (process(),)),
    ],
)
def test_what_no_rule_can_say_or_show_is_not_offered(
    owner: Owner, rivals: tuple[Owner, ...]
) -> None:
    asked = question(owner, rivals=rivals)

    assert Who.PROGRAM not in whos(asked)
    with pytest.raises(Refused, match="has no who 'program'"):
        scope_of(asked, Who.PROGRAM, Where.ANYWHERE)


def test_programs_of_which_it_is_one_are_named_together() -> None:
    asked = question(process("/bin/a"), rivals=(process("/bin/b"), process("/bin/a")))

    rule = rule_for(asked, Who.PROGRAM, Where.PORT)

    assert rule.name == "a or b to 80/tcp anywhere"
    assert matches(rule, process("/bin/b"), flow())
    assert not matches(rule, process("/bin/c"), flow())
    assert list(whos(asked)) == [Who.PROGRAM]


def test_one_script_stays_one_where_it_is_not_known_which_of_its_processes_sends() -> None:
    script = running("python3", "/a.py")
    asked = question(script, rivals=(replace(script, pid=9),))

    rule = rule_for(asked, Who.PROGRAM, Where.PORT)

    assert matches(rule, script, flow())
    assert not matches(rule, running("python3", "/b.py"), flow())


def test_a_process_that_may_be_another_cannot_be_answered_for() -> None:
    for asked in (question(rivals=(process(),)), question(Kernel("for the test"))):
        who = next(iter(whos(asked)))
        with pytest.raises(Refused, match="which process it is"):
            rule_for(asked, who, Where.ANYWHERE, lasts="process")


@pytest.mark.parametrize("proto", [Protocol.TCP, Protocol.UDP, Protocol.SCTP, Protocol.UDPLITE])
def test_a_port_that_people_see_is_the_port_that_the_rule_names(proto: Protocol) -> None:
    sent = flow()._replace(proto=proto)
    asked = question(of_flow=sent)

    rule = rule_for(asked, Who.PROGRAM, Where.PORT)

    assert wheres(asked)[Where.PORT].text == f"80/{proto.name.lower()}"
    assert not matches(rule, process(), sent._replace(dport=81))


def test_a_ping_can_be_let_out_to_one_address_or_to_all() -> None:
    asked = question(of_flow=ping())

    assert wheres(asked)[Where.PORT].text == "icmp"
    assert not matches(rule_for(asked, Who.PROGRAM, Where.PORT), process(), datagrams())


@pytest.mark.parametrize(
    ("daddr", "inside", "outside"),
    [("192.0.2.1", "192.0.2.255", "192.0.3.0"), ("2001:db8::1", "2001:db8::f:1", "2001:db8:0:1::")],
)
def test_the_network_around_an_address_goes_so_far(daddr: str, inside: str, outside: str) -> None:
    rule = rule_for(question(of_flow=flow(daddr)), Who.PROGRAM, Where.NETWORK)

    assert matches(rule, process(), flow(inside, dport=7))
    assert not matches(rule, process(), flow(outside))


@given(QUESTIONS)
def test_names_of_rules_are_short_and_hide_nothing(asked: Question) -> None:
    for who in whos(asked):
        for where in wheres(asked):
            name = rule_for(asked, who, where).name
            assert name.isprintable()
            assert len(name) <= 140


def test_a_name_that_is_taken_gets_a_number() -> None:
    asked, duration = question(), parse_duration("forever", WALL_NS)
    scope, taken = scope_of(asked, "program", "port"), set[str]()
    for _ in range(3):
        taken.add(rule_of(composed(asked, scope, Action.DENY, duration, taken)).name)

    plain = "curl to 80/tcp anywhere"
    assert taken == {plain, f"{plain} (2)", f"{plain} (3)"}


@given(QUESTIONS)
def test_a_rule_shows_every_character_that_it_has(asked: Question) -> None:
    duration = parse_duration("forever", WALL_NS)
    for who in whos(asked):
        scope = scope_of(asked, who, Where.ANYWHERE)
        text = composed(asked, scope, Action.ALLOW, duration, frozenset())
        assert text.replace("\n", "").isprintable()


def test_a_user_is_named_where_the_machine_has_a_name() -> None:
    alice = replace(process(), identity=replace(NOT_IDENTIFIED, user="alice"))

    by_name, by_number = whos(question(alice))[Who.USER], whos(question())[Who.USER]

    assert (by_name.fields, by_number.fields) == ({"user": "alice"}, {"uid": 1_000})
