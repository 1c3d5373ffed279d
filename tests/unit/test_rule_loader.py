"""What good rule files say."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from builders import case
from nfsnitch.adapters.rulefile import Names, RuleFileError, load, system_names
from nfsnitch.core.case import Case
from nfsnitch.core.decision import Action, Reason
from nfsnitch.core.flow import NO_PORTS, Family, Flow, packed_address
from nfsnitch.core.instant import Instant
from nfsnitch.core.owner import Executable, Kernel, Owner, Process
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.core.settings import FailMode, Limits, Loopback, Settings
from nfsnitch.core.unknown import Unknown

Load = Callable[..., Ruleset]
MYSTERY = Unknown("not known in this test")
USERS = {"alice": 1000, "no": 1001}
SERVICES = {"http": frozenset({80}), "shell": frozenset({514, 544})}
NAMES = Names(
    USERS.get,
    lambda service: SERVICES.get(service, frozenset()),
    {"staff": 50}.get,
    {"own": 1, "lab": 7}.get,
)
ID = "3f2a90c1d5e7" * 5 + "aaaa"
SESSION = "/user.slice/user-1000.slice/user@1000.service/app.slice"
PYTHON = "/usr/bin/python3.11"


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


def placed(cgroup: str | Unknown) -> Process:
    return replace(process(), cgroup=cgroup)


def running(args: str, exe: str = PYTHON, cwd: str = "/opt") -> Process:
    return replace(process(exe, args=args), cwd=cwd)


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


def test_settings_of_failure_queue_and_marks_are_taken_as_written(loaded: Load) -> None:
    ruleset = loaded(
        "fail: open\nloopback: judge\nqueue_length: 100\nreject_mark: 0x42\nqueue_bit: 128\n"
        "label: 3\ntimeouts: {hang: 4s}\n"
        "limits: {held_flows: 7, held_flows_of_program: 6, packets_of_held_flow: 8,"
        " decided_flows: 9, trusted_flows: 10}\n"
    )
    limits = Limits(7, 6, 8, 9, 10)
    assert ruleset.settings == Settings(
        FailMode.OPEN, Loopback.JUDGE, 100, 0x42, 128, 3, 4_000_000_000, limits
    )


def test_a_short_queue_holds_as_many_flows_as_leave_room_in_it(loaded: Load) -> None:
    assert loaded("queue_length: 100").settings.limits.held_flows == 75


def test_files_that_disagree_on_a_setting_are_refused(loaded: Load) -> None:
    with pytest.raises(RuleFileError, match=r"fail 'open': .*1:7 says otherwise; keep one"):
        loaded("fail: closed", "fail: open")
    assert loaded("fail: open", "fail: open").settings.fail is FailMode.OPEN


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
        ("gid: [5, 50]", replace(process(), gid=50), process()),
        ("gid: {not: 50}", process(), MYSTERY),
        ("group: staff", replace(process(), gid=50), process()),
        ("comm: 'DNS*'", replace(process(), comm="DNS Res 1"), process()),
        ("comm: {not: x}", process(), replace(process(), comm="x")),
        ("pid: [2, 3]", process(), replace(process(), pid=4)),
        ("netns: own", process(), replace(process(), netns=2)),
        ("netns: [lab, 9]", replace(process(), netns=9), process()),
        ("netns: {not: own}", replace(process(), netns=2), replace(process(), netns=MYSTERY)),
        ("cgroup: /a.slice/**", placed("/a.slice/b/c"), placed("/a.slice")),
        ("cgroup: /", placed("/"), placed("/x")),
        ("cgroup: {not: /a}", placed("/b"), placed(MYSTERY)),
        ("unit: cron.service", placed("/system.slice/cron.service"), placed("/cron.service/..")),
        ("unit: cron.service", placed("/cron.service/x"), placed(f"{SESSION}/cron.service")),
        ("unit: '*.service'", placed("/a.slice/x.service"), placed("/user.slice/x.scope")),
        ("unit: 'user@*.service/a.scope'", placed(f"{SESSION}/a.scope"), placed("/a.scope")),
        (
            "unit: 'user@1000.service'",
            placed(f"{SESSION}/a.scope"),
            placed("/user.slice/user-5.slice/user@5.service/user@1000.service"),
        ),
        (r"unit: 'a\x2db.mount'", placed(r"/a\x2db.mount"), placed("/a-b.mount")),
        ("unit: {not: a.service}", placed("/b.service"), placed("/a.service/inner.scope")),
        ("unit: {not: a.service}", placed("/b.service"), placed("/docker")),
        ("app: 'snap:*'", placed("/system.slice/snap.lxd.d.service"), placed("/x.service")),
        (f"app: 'container:{ID[:12]}'", placed(f"/docker/{ID}"), placed(f"/docker/{ID[::-1]}")),
        ("app: container:web", placed("/lxc/web"), placed("/lxc/web2")),
        ("app: {not: 'snap:x'}", placed("/lxc/web"), placed("/x.service")),
        (f"exe: {PYTHON}\n    script: /opt/x.py", running("p x.py"), running("p y.py")),
        (f"exe: {PYTHON}\n    script: /opt/x.py", running("p x.py"), running("p -c x.py")),
        ("exe: /**/bash*\n    script: /a", running("b /a", "/bin/bash"), running("b /a", "/a/ba")),
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
        ("sport: 40000-40001", flow(), flow()._replace(sport=39_999)),
        ("sport: {not: 1}", flow(), flow()._replace(sport=NO_PORTS)),
        ("saddr: 192.0.2.0/24", flow(), flow("10.0.0.1")),
    ],
)
def test_a_field_about_the_flow_matches_one_and_not_the_other(
    loaded: Load, fields: str, matching: Flow, other: Flow
) -> None:
    ruleset = loaded(rule(fields))
    for owner in (process(), Kernel("x"), MYSTERY):
        assert decides(ruleset, matching, owner)
        assert not decides(ruleset, other, owner)


@pytest.mark.parametrize(
    ("fields", "matching", "other"),
    [
        ("iface: eth0", "eth0", "eth1"),
        ("iface: [wg*, tun0]", "wg-home", "tun1"),
        ("iface: {not: 'wg*'}", "eth0", "wg0"),
        ("iface: {not: 'wg*'}", "eth0", MYSTERY),
    ],
)
def test_the_interface_matches_or_not(
    loaded: Load, fields: str, matching: str | Unknown, other: str | Unknown
) -> None:
    ruleset = loaded(rule(fields))
    asked = case(flow(), MYSTERY)
    assert ruleset.rule_on(asked._replace(iface=matching)).reason is Reason.RULE
    assert ruleset.rule_on(asked._replace(iface=other)).reason is not Reason.RULE


def at(text: str) -> Case:
    """Return a case at this moment, UTC."""
    wall_ns = int(datetime.fromisoformat(f"{text}Z").timestamp()) * 10**9
    return case(flow(), process())._replace(now=Instant(0, wall_ns))


@pytest.mark.parametrize(
    ("fields", "matching", "other"),
    [
        ("schedule: mon-fri 08:00-18:00", "2030-06-24T08:00:00", "2030-06-24T18:00:00"),
        ("schedule: [sat, 'sun 10:00-12:00']", "2030-06-29T00:00:00", "2030-06-30T12:00:00"),
        ("schedule: {not: [sat, sun]}", "2030-06-28T23:59:59", "2030-06-29T00:00:00"),
        ("expires: 2030-06-30T18:00Z", "2030-06-30T17:59:59", "2030-06-30T18:00:00"),
    ],
)
def test_a_rule_holds_at_its_time_and_not_at_another(
    loaded: Load, fields: str, matching: str, other: str
) -> None:
    ruleset = loaded(rule(fields))
    assert ruleset.rule_on(at(matching)).reason is Reason.RULE
    assert ruleset.rule_on(at(other)).reason is not Reason.RULE


def test_the_rules_tell_when_they_may_say_something_else_next(loaded: Load) -> None:
    ruleset = loaded(
        "rules:\n- {name: a, action: deny, schedule: 08:00-18:00}\n"
        "- {name: b, action: deny, expires: 2030-06-24T12:00Z}\n"
    )
    changes = [at("2030-06-24T07:00:00")]
    for _ in range(3):
        change_ns = ruleset.next_change_ns(changes[-1].now)
        assert change_ns is not None
        changes.append(changes[-1]._replace(now=Instant(0, change_ns)))
    texts = ("07:00", "08:00", "12:00", "18:00")
    assert changes == [at(f"2030-06-24T{text}:00") for text in texts]


def test_rules_without_times_never_change_by_themselves(loaded: Load) -> None:
    assert loaded(rule("exe: /x")).next_change_ns(at("2030-06-24T07:00:00").now) is None
    expired = loaded(rule("expires: 2029-01-01"))
    assert expired.next_change_ns(at("2030-06-24T07:00:00").now) is None


def test_a_rule_that_is_not_enabled_is_kept_and_matches_nothing(loaded: Load) -> None:
    ruleset = loaded("rules: [{name: r, action: deny, enabled: false}]")
    (only,) = ruleset.rules
    assert not only.enabled
    assert not decides(ruleset, flow(), process())
    assert list(ruleset.mismatches(case())) == [(only, "enabled")]
    assert loaded("rules: [{name: r, action: deny, enabled: true}]").rules[0].enabled


def test_a_rule_keeps_its_note(loaded: Load) -> None:
    assert loaded(rule("note: because of this")).rules[0].note == "because of this"


def test_only_rules_with_a_script_ask_for_working_directories(loaded: Load) -> None:
    assert loaded(rule(f"exe: {PYTHON}\n    script: /x.py")).asks_script
    assert not loaded(rule(f"exe: {PYTHON}")).asks_script
    out_of_force = loaded(rule(f"exe: {PYTHON}\n    script: /x.py\n    enabled: false"))
    assert not out_of_force.asks_script


def test_groups_of_every_kind_contain_each_other_over_files(loaded: Load) -> None:
    ruleset = loaded(
        "groups: {web: {ports: [http, more]}, people: {users: [alice, others, 7]}}\n"
        + rule("dport: web\n    user: people\n    exe: {not: shells}\n    group: crew"),
        "groups: {more: {ports: 8000-8080}, others: {users: 'no'},\n"
        "  shells: {programs: [/bin/*sh]}, crew: {usergroups: [staff, 51]}}",
    )
    member = replace(process(), gid=51)
    for port, uid in ((80, 1000), (8080, 1001), (80, 7)):
        assert decides(ruleset, flow(dport=port), replace(member, uid=uid))
    assert not decides(ruleset, flow(dport=81), member)
    assert not decides(ruleset, flow(dport=80), replace(member, uid=8))
    assert not decides(ruleset, flow(dport=80), replace(member, gid=52))
    shell = replace(member, exe=Executable("/bin/bash", 1, 1))
    assert not decides(ruleset, flow(dport=80), shell)


@pytest.mark.parametrize("field", ["uid: people", "user: people", "uid: [5, people]"])
def test_a_group_of_users_is_taken_by_number_and_by_name(loaded: Load, field: str) -> None:
    ruleset = loaded("groups: {people: {users: alice}}\n" + rule(field))
    assert decides(ruleset, flow(), process(uid=1000))
    assert not decides(ruleset, flow(), process(uid=1))


def test_the_name_of_a_group_goes_before_that_of_a_service_or_user(loaded: Load) -> None:
    ruleset = loaded(
        "groups: {http: {ports: 8080}, alice: {users: 7}}\n" + rule("dport: http\n    user: alice")
    )
    assert decides(ruleset, flow(dport=8080), process(uid=7))
    assert not decides(ruleset, flow(dport=80), process(uid=7))
    assert not decides(ruleset, flow(dport=8080), process(uid=1000))


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


def test_the_machine_knows_its_groups_and_network_namespaces() -> None:
    names = system_names()
    assert names.gid_of("root") == 0
    assert names.netns_of("own") == Path("/proc/self/ns/net").stat().st_ino
    for nonsense in ("no such name", "\0", "\ud800", "", "..", "../../proc/1/ns/net"):
        assert names.gid_of(nonsense) is None
        assert names.netns_of(nonsense) is None


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
