"""What good rule files say."""

from collections.abc import Callable
from pathlib import Path

import pytest

from builders import case
from nfsnitch.adapters.rulefile import Names, RuleFileError, load, system_names
from nfsnitch.core.decision import Action, Reason
from nfsnitch.core.flow import NO_PORTS, Family, Flow, packed_address
from nfsnitch.core.owner import Executable, Kernel, Owner, Process
from nfsnitch.core.rule import Ruleset
from nfsnitch.core.unknown import Unknown

Load = Callable[..., Ruleset]
MYSTERY = Unknown("not known in this test")
USERS = {"alice": 1000, "no": 1001}
SERVICES = {"http": frozenset({80}), "shell": frozenset({514, 544})}
NAMES = Names(USERS.get, lambda service: SERVICES.get(service, frozenset()))


@pytest.fixture
def loaded(tmp_path: Path) -> Load:
    def from_texts(*texts: str) -> Ruleset:
        files = [tmp_path / f"{number}.yaml" for number in range(len(texts))]
        for file, text in zip(files, texts, strict=True):
            file.write_text(text, encoding="utf-8")
        return load(files, NAMES)

    return from_texts


def flow(daddr: str = "192.0.2.1", dport: int | Unknown = 443, proto: int = 6) -> Flow:
    packed = packed_address(daddr)
    family = Family.IPV4 if len(packed) == 4 else Family.IPV6
    return Flow(family, proto, packed, packed, 40000, dport)


def process(exe: str = "/usr/bin/curl", uid: int = 1000, args: str = "curl") -> Process:
    return Process(
        pid=2,
        tid=2,
        start_time_ns=0,
        uid=uid,
        gid=0,
        exe=Executable(exe, 1, 1),
        args=tuple(args.split()),
        comm="",
        parents=(),
        cgroup_id=1,
        cgroup="/",
        netns=1,
    )


def rule(fields: str) -> str:
    return f"rules:\n  - name: r\n    action: allow\n    {fields}\n"


def decides(ruleset: Ruleset, one_flow: Flow, owner: Owner) -> bool:
    return ruleset.rule_on(case(one_flow, owner)).reason is Reason.RULE


def test_a_file_without_settings_has_the_defaults(loaded: Load) -> None:
    assert loaded("rules: []") == Ruleset()


def test_settings_are_taken_as_written(loaded: Load) -> None:
    ruleset = loaded(
        "version: 1\ndefault: reject\nunattributed: allow\nunanswered: reject\n"
        "timeouts: {ask: 1500ms}\n"
    )
    assert ruleset == Ruleset((), Action.REJECT, Action.ALLOW, Action.REJECT, 1_500_000_000)


@pytest.mark.parametrize(
    ("text", "duration_ns"),
    [("100ms", 10**8), ("30s", 30 * 10**9), ("2m", 120 * 10**9), ("1h", 3600 * 10**9)],
)
def test_a_duration_has_a_unit(loaded: Load, text: str, duration_ns: int) -> None:
    assert loaded(f"timeouts: {{ask: {text}}}").ask_timeout_ns == duration_ns


def test_rules_keep_their_order_over_all_files(loaded: Load) -> None:
    first = "rules:\n- {name: b, action: deny}\n- {name: a, action: ask}\n"
    ruleset = loaded(first, "rules: [{name: c, action: reject}]")
    assert [each.name for each in ruleset.rules] == ["b", "a", "c"]
    assert [each.action for each in ruleset.rules] == [Action.DENY, Action.ASK, Action.REJECT]


def test_a_rule_tells_the_file_and_line_it_was_read_from(loaded: Load) -> None:
    (only,) = loaded("# comment\n" + rule("proto: tcp")).rules
    assert only.origin.endswith("0.yaml:3")


def test_a_directory_stands_for_its_yaml_files_in_name_order(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yaml", ".hidden.yaml", "c.txt"):
        text = f"rules: [{{name: {name}, action: deny}}]"
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert [each.name for each in load([tmp_path], NAMES).rules] == ["a.yaml", "b.yaml"]


def test_a_rule_without_fields_matches_everything(loaded: Load) -> None:
    ruleset = loaded("rules: [{name: r, action: deny}]")
    for owner in (process(), Kernel("x"), MYSTERY):
        assert decides(ruleset, flow(), owner)


@pytest.mark.parametrize(
    ("fields", "matching", "other"),
    [
        ("exe: /usr/bin/curl", process(), process(exe="/usr/bin/curlx")),
        ("exe: [/bin/a, /bin/c*]", process(exe="/bin/cat"), process(exe="/bin/ls")),
        ("exe: {not: [/bin/a, /bin/b]}", process(), process(exe="/bin/b")),
        ("exe: {not: /bin/a}", process(), MYSTERY),
        ("args: ' -k( |$)'", process(args="curl -k x"), process(args="curl -K")),
        ("args: {not: ' -k'}", process(), process(args="curl -k x")),
        ("uid: [0, 1000]", process(), process(uid=1)),
        ("uid: 0", process(uid=0), Kernel("x")),
        ("user: alice", process(), process(uid=1)),
        ("user: no", process(uid=1001), process(uid=0)),
        ("owner: kernel", Kernel("x"), MYSTERY),
        ("owner: unknown", MYSTERY, process()),
        ("owner: [unknown, kernel]", MYSTERY, process()),
        ("owner: {not: unknown}", Kernel("x"), MYSTERY),
    ],
)
def test_a_field_about_the_owner_matches_one_and_not_the_other(
    loaded: Load, fields: str, matching: Owner, other: Owner
) -> None:
    ruleset = loaded(rule(fields))
    assert decides(ruleset, flow(), matching)
    assert not decides(ruleset, flow(), other)


@pytest.mark.parametrize(
    ("fields", "matching", "other"),
    [
        ("proto: udp", flow(proto=17), flow()),
        ("proto: [17, sctp]", flow(proto=132), flow()),
        ("proto: {not: udp}", flow(), flow(proto=17)),
        ("proto: 255", flow(proto=255), flow()),
        ("family: ipv6", flow("::1"), flow()),
        ("daddr: 192.0.2.1", flow(), flow("192.0.2.2")),
        ("daddr: 192.0.2.0/24", flow(), flow("192.0.3.0")),
        ("daddr: 0.0.0.0/0", flow(), flow("::")),
        ("daddr: '::/0'", flow("::"), flow("0.0.0.0")),  # noqa: S104
        ("daddr: 192.0.2.1-192.0.2.9", flow("192.0.2.9"), flow("192.0.2.10")),
        ("daddr: 192.0.2.1 - 192.0.2.9", flow("192.0.2.9"), flow("192.0.2.10")),
        ("daddr: ['2001:db8::/32', 10.0.0.1]", flow("2001:db8::5"), flow("10.0.0.2")),
        ("daddr: {not: 10.0.0.0/8}", flow(), flow("10.1.1.1")),
        ("daddr: {not: 10.0.0.0/8}", flow("::1"), flow("10.1.1.1")),
        ("dport: 443", flow(), flow(dport=442)),
        ("dport: 8000-8080", flow(dport=8080), flow(dport=8081)),
        ("dport: http", flow(dport=80), flow()),
        ("dport: [shell, 22]", flow(dport=544), flow()),
        ("dport: {not: [80, 443]}", flow(dport=444), flow()),
        ("dport: {not: 80}", flow(), flow(dport=NO_PORTS)),
    ],
)
def test_a_field_about_the_flow_matches_one_and_not_the_other(
    loaded: Load, fields: str, matching: Flow, other: Flow
) -> None:
    ruleset = loaded(rule(fields))
    for owner in (process(), Kernel("x"), MYSTERY):
        assert decides(ruleset, matching, owner)
        assert not decides(ruleset, other, owner)


def test_all_fields_of_a_rule_must_match(loaded: Load) -> None:
    ruleset = loaded(rule("exe: /usr/bin/curl\n    dport: 443"))
    assert decides(ruleset, flow(), process())
    assert not decides(ruleset, flow(dport=80), process())
    assert not decides(ruleset, flow(), process(exe="/bin/nc"))


def test_groups_contain_each_other_over_files_and_in_any_order(loaded: Load) -> None:
    ruleset = loaded(
        "groups: {all: [one, two, 192.0.2.3]}\n" + rule("daddr: [all, 192.0.2.9]"),
        "groups: {two: [one, '2001:db8::/64'], one: 192.0.2.1}",
    )
    for address in ("192.0.2.1", "192.0.2.3", "192.0.2.9", "2001:db8::7"):
        assert decides(ruleset, flow(address), MYSTERY)
    assert not decides(ruleset, flow("192.0.2.2"), MYSTERY)


def test_a_long_chain_of_groups_is_followed(loaded: Load) -> None:
    chain = "".join(f"  g{number}: g{number + 1}\n" for number in range(3000))
    ruleset = loaded(f"groups:\n{chain}  g3000: 192.0.2.1\n" + rule("daddr: g0"))
    assert decides(ruleset, flow(), MYSTERY)


def test_equal_fields_share_what_they_keep(loaded: Load) -> None:
    one, other = loaded(
        "rules:\n- {name: a, action: deny, daddr: 10.0.0.0/8}\n"
        "- {name: b, action: deny, daddr: 10.0.0.0/8}\n"
    ).rules
    assert one.conditions[0] is other.conditions[0]


def test_aliases_may_share_a_list(loaded: Load) -> None:
    ruleset = loaded(
        "rules:\n- {name: a, action: deny, dport: &web [80, 443]}\n"
        "- {name: b, action: deny, uid: 7, dport: {not: *web}}\n"
    )
    assert ruleset.rule_on(case(flow(dport=1), process(uid=7))).rule == "b"


def test_the_same_setting_twice_is_taken_if_it_says_the_same(loaded: Load) -> None:
    assert loaded("default: deny", "default: deny").default is Action.DENY


def test_a_byte_order_mark_and_windows_line_ends_are_taken(loaded: Load) -> None:
    assert loaded("\ufeffdefault: deny\r\nrules: []\r\n").default is Action.DENY


def test_the_machine_knows_root_and_http_and_no_nonsense() -> None:
    names = system_names()
    assert names.uid_of("root") == 0
    assert 80 in names.ports_of("http")
    for nonsense in ("no such name", "\0", "\ud800", ""):
        assert names.uid_of(nonsense) is None
        assert names.ports_of(nonsense) == frozenset()


def test_a_bad_file_among_good_ones_refuses_all(loaded: Load) -> None:
    with pytest.raises(RuleFileError) as caught:
        loaded("rules: []", "default: maybe")
    assert [problem.position.order for problem in caught.value.problems] == [1]


@pytest.mark.parametrize(
    "fields",
    [
        "{family: ipv4, daddr: {not: '2001:db8::/32'}}",
        "{family: ipv4, daddr: ['2001:db8::/32', 10.0.0.1]}",
        "{proto: {not: icmp}, dport: 80}",
        "{proto: [icmp, tcp], dport: 80}",
        "{owner: {not: unknown}, exe: /bin/x}",
        "{owner: {not: [unknown, kernel]}, uid: 0}",
    ],
)
def test_fields_that_leave_something_to_match_contradict_nothing(loaded: Load, fields: str) -> None:
    (only,) = loaded(f"rules: [{{name: r, action: deny, {fields[1:-1]}}}]").rules
    assert len(only.conditions) == 2
