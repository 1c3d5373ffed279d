"""Rules written for others and read again decide alike; never do they let out more."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from nfsnitch.adapters.rulefile import Names
from nfsnitch.adapters.rulefile.files import Source as Text
from nfsnitch.adapters.rulefile.loader import load_text
from nfsnitch.adapters.rulefile.schema import rule_file_schema
from nfsnitch.core.decision import Action
from nfsnitch.core.flow import Protocol
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.exchange.draft import FileDraft, RuleDraft
from nfsnitch.exchange.lsrules_export import export_lsrules
from nfsnitch.exchange.lsrules_import import import_lsrules
from nfsnitch.exchange.opensnitch_export import export_opensnitch
from nfsnitch.exchange.opensnitch_import import Source, import_opensnitch
from nfsnitch.exchange.ours import file_draft
from nfsnitch.exchange.report import Report
from opensnitch_model import Connection, decide

NAMES = Names({"alice": 1000}.get, lambda _: frozenset(), {"mail": 8}.get, {"own": 5}.get)

FIELDS: dict[str, list[tuple[str, ...]]] = {
    "exe": [
        ("/usr/bin/curl",),
        ("/usr/bin/curl", "/usr/bin/wget"),
        ("/usr/bin/w*",),
        ("/opt/**",),
        (r"/usr/bin/[cw]?r?", r"/opt/a\*b"),
    ],
    "parent": [("/usr/bin/make",)],
    "args": [("--insecure",), ("^curl", "x.*y$")],
    "uid": [("0",), ("0", "1000")],
    "proto": [("tcp",), ("udp", "tcp"), ("icmp", "icmpv6")],
    "family": [("ipv4",), ("ipv6",)],
    "dport": [("443",), ("80", "443"), ("1-1024", "8443")],
    "daddr": [("10.0.0.0/8",), ("10.1.2.3", "2001:db8::/32"), ("10.0.0.1-10.1.2.9",)],
    "saddr": [("192.0.2.2",)],
    "host": [("example.org",), ("example.org", "*.example.org"), ("*.example.org",)],
    "iface": [("eth0",), ("w*",)],
}
ONLY_OURS: dict[str, list[tuple[str, ...]]] = {
    "comm": [("curl",)],
    "gid": [("8",)],
    "schedule": [("mon-fri 08:00-18:00",), ("sat,sun",), ("22:00-06:00", "wed 12:00-13:00")],
    "unit": [("cron.service",), (r"a\x2db.service", "user@*.service")],
    "app": [("container:3f2a90c1d5e7",)],
    "cgroup": [("/system.slice/**",)],
    "user": [("alice",)],
    "group": [("mail",)],
    "netns": [("own", "7")],
    "package": [("none",)],
    "changed": [("true",)],
    "sha256": [("0" * 64,)],
    "pid": [("17",)],
    "pod": [("7d2f1c9a",)],
    "sport": [("123",)],
}
SAME = {"user": "uid", "group": "gid"}
"""Of a rule with both it may be that nobody is meant."""
NEGATABLE = ("daddr", "dport", "proto", "exe", "uid", "host", "schedule", "family")


def drafts(
    fields: Mapping[str, list[tuple[str, ...]]], *, negated: Sequence[str] = NEGATABLE
) -> st.SearchStrategy[RuleDraft]:
    """Return rules of some of *fields*."""
    few = st.lists(
        st.sampled_from(sorted(fields)), unique_by=lambda name: SAME.get(name, name), max_size=3
    )
    chosen = few.flatmap(
        lambda names: st.fixed_dictionaries({name: st.sampled_from(fields[name]) for name in names})
    )
    return st.builds(
        RuleDraft,
        st.just("r"),
        st.sampled_from(["allow", "allow", "deny", "reject", "ask"]),
        chosen,
        st.sampled_from([None, "a note: with # signs"]),
        st.sampled_from([True, True, True, False]),
        negated=st.frozensets(st.sampled_from(negated), max_size=1),
    )


def ruleset_of(
    rules: Sequence[RuleDraft], default: str = "ask", unattributed: str = "deny"
) -> Ruleset:
    numbered = [
        RuleDraft(
            f"r {at}/x",
            each.action,
            each.fields,
            each.note,
            each.enabled,
            negated=each.negated & each.fields.keys(),
            head=each.head,
        )
        for at, each in enumerate(rules)
    ]
    chosen = {"default": default, "unattributed": unattributed}
    return loaded(FileDraft("t", chosen, rules=numbered).text())


def loaded(text: str) -> Ruleset:
    return load_text(Text(0, "r.yaml", text), NAMES)


def fits(rule: RuleDraft) -> bool:
    """Whether the loader takes the rule at all: no contradiction of its fields."""
    try:
        ruleset_of([rule])
    except Exception as error:  # noqa: BLE001  the loader's own refusal is what is looked for
        return "field" not in str(error)
    return True


RULES = st.lists(drafts(FIELDS).filter(fits), max_size=5)
CONNECTIONS = st.lists(
    st.builds(
        Connection,
        path=st.sampled_from(["/usr/bin/curl", "/usr/bin/wget", "/opt/a*b", "/opt/x/y"]),
        args=st.sampled_from(["curl --insecure", "curl", "a x y"]),
        parents=st.sampled_from([(), ("/usr/bin/make",)]),
        uid=st.sampled_from([0, 1000, 7]),
        host=st.sampled_from(["", "example.org", "a.example.org", "other.example"]),
        daddr=st.sampled_from(["10.1.2.3", "10.200.0.1", "192.0.2.7", "2001:db8::1", "2001::1"]),
        dport=st.sampled_from([80, 443, 1025, 8443]),
        proto=st.sampled_from([Protocol.TCP, Protocol.UDP]),
        iface=st.sampled_from(["eth0", "wg0"]),
    ),
    min_size=1,
    max_size=6,
)
DEFAULTS = st.sampled_from(
    [("ask", "deny"), ("deny", "deny"), ("allow", "allow"), ("allow", "deny")]
)


@settings(max_examples=100, deadline=None)
@given(RULES, DEFAULTS, CONNECTIONS)
def test_what_opensnitch_is_given_lets_out_nothing_more_and_if_all_is_said_decides_alike(
    rules: list[RuleDraft], default: tuple[str, str], connections: list[Connection]
) -> None:
    ours = ruleset_of(rules, *default)
    report = Report()
    theirs = export_opensnitch(ours, report)
    said = all(each.rule is None for each in report.remarks) and not report.unsaid
    for connection in connections:
        here = ours.rule_on(connection.case()).action
        there = Action(decide(theirs, connection) or "ask")
        if there is Action.ALLOW:
            assert here is Action.ALLOW
        if said:
            assert there is here


@settings(max_examples=60, deadline=None)
@given(RULES, CONNECTIONS)
def test_what_opensnitch_was_given_is_read_again_and_decides_alike(
    rules: list[RuleDraft], connections: list[Connection]
) -> None:
    ours = ruleset_of(rules)
    theirs = export_opensnitch(ours, Report())
    report = Report()
    files = [(f"{each['name']}.json", json.dumps(each)) for each in theirs]
    draft = import_opensnitch(Source("/r", files), lambda _: None, NAMES, report)
    if report.unsaid:
        return
    again = loaded(draft.text())
    for connection in connections:
        decided = Action(decide(theirs, connection) or "ask")
        assert again.rule_on(connection.case()).action is decided


@settings(max_examples=100, deadline=None)
@given(RULES, DEFAULTS, CONNECTIONS)
def test_what_little_snitch_is_given_lets_out_nothing_more_and_if_all_is_said_decides_alike(
    rules: list[RuleDraft], default: tuple[str, str], connections: list[Connection]
) -> None:
    ours = ruleset_of(rules, *default)
    report = Report()
    theirs = export_lsrules(ours, "t", report)
    reading = Report()
    draft = import_lsrules("t.lsrules", json.dumps(theirs), NAMES, reading)
    assert not reading.unsaid
    again = loaded(draft.text())
    said = not report.unsaid and not any("itself is meant" in each.why for each in report.remarks)
    for connection in connections:
        here = ours.rule_on(connection.case()).action
        there = again.rule_on(connection.case()).action
        if there is Action.ALLOW:
            assert here is Action.ALLOW
        if said:
            assert there is (Action.DENY if here is Action.REJECT else here)


ALL_FIELDS = {**FIELDS, **ONLY_OURS}


@settings(max_examples=100, deadline=None)
@given(st.lists(drafts(ALL_FIELDS).filter(fits), max_size=4), CONNECTIONS)
def test_json_says_all_that_the_rules_say(
    rules: list[RuleDraft], connections: list[Connection]
) -> None:
    ours = ruleset_of(rules, "deny")
    report = Report()
    written = file_draft(ours, "t", report)
    assert not report.remarks
    document = written.document()
    Draft202012Validator(rule_file_schema()).validate(document)
    again = loaded(json.dumps(document))
    assert file_draft(again, "t", Report()).document() == document
    assert loaded(written.text()) == again or _alike(ours, again)
    for connection in connections:
        case = connection.case()
        assert again.rule_on(case) == ours.rule_on(case)


def _alike(one: Ruleset, other: Ruleset) -> bool:
    """Whether rules are the same but for where they stand."""
    return [(each.name, each.action, each.note, each.enabled) for each in one.rules] == [
        (each.name, each.action, each.note, each.enabled) for each in other.rules
    ]


WHOLE = """
default: deny
unattributed: reject
unanswered: reject
fail: open
loopback: judge
queue_length: 1024
label: 3
timeouts: {ask: 1500ms, hang: 20s}
limits: {held_flows: 12, names: 7}
names: {first_data: false, keep: 90m}
on_unknown_name: ask
lists:
  ads: {url: "https://lists.example/ads.txt", format: hosts, refresh: 12h}
  mine: {file: /etc/mine.txt}
rules:
  - name: "no: 'colour' # é"
    action: reject
    note: "what: a note"
    expires: 2030-06-30T12:00:00Z
    host: ["*.a.example", b.example]
    dns: refuse
  - name: lists
    action: deny
    list: {not: [ads, mine]}
    on_unknown_name: skip
  - name: nobody
    action: allow
    user: bob
  - name: both
    action: allow
    uid: [0, 1000]
    user: {not: alice}
"""


def test_json_has_settings_lists_and_heads_of_rules() -> None:
    report = Report()
    document = file_draft(loaded(WHOLE), "t", report).document()
    Draft202012Validator(rule_file_schema()).validate(document)
    again = loaded(json.dumps(document))
    ours = loaded(WHOLE)
    assert again.settings == ours.settings
    assert again.ask_timeout_ns == ours.ask_timeout_ns
    assert (again.default, again.unattributed, again.unanswered) == ("deny", "reject", "reject")
    assert [each.definition.where for each in again.lists] == [
        each.definition.where for each in ours.lists
    ]
    assert [each.definition.refresh_s for each in again.lists] == [43_200, 86_400]
    assert [each.on_unknown_name for each in again.rules] == [
        each.on_unknown_name for each in ours.rules
    ]
    assert again.rules[0].dns is ours.rules[0].dns
    assert again.rules[0].expires_ns == ours.rules[0].expires_ns
    assert document["rules"][3]["uid"] == 0
    (remark,) = report.remarks
    assert (remark.rule, again.rules[2].enabled) == ("nobody", False)


def test_a_rule_behind_one_that_is_left_out_is_left_out_if_it_could_let_out_the_same() -> None:
    ours = loaded(
        """
rules:
  - {name: night, action: deny, exe: /usr/bin/curl, schedule: 22:00-06:00}
  - {name: curl, action: allow, exe: /usr/bin/curl}
  - {name: wget, action: allow, exe: /usr/bin/wget}
  - {name: off, action: allow, exe: /usr/bin/curl, enabled: false}
"""
    )
    report = Report()
    names = [each["description"] for each in export_opensnitch(ours, report)]
    assert names == ["wget", "off"]
    assert [each.rule for each in report.remarks] == ["night", "curl"]
    assert "might allow what that is to deny" in report.remarks[1].why


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("exe: /x, on_unknown_name: ask, host: a.example", "passes by rules whose name"),
        ("exe: {not: /x}", "exe: not:"),
        ("unit: cron.service", "unit:"),
        ("owner: kernel", "owner:"),
        ("proto: gre", "TCP, UDP"),
        ("expires: 2030-01-01", "expires:"),
    ],
)
def test_what_opensnitch_cannot_say_is_told(rule: str, why: str) -> None:
    report = Report()
    ours = loaded(f"rules: [{{name: r, action: deny, {rule}}}]")
    assert export_opensnitch(ours, report) == []
    assert why in report.remarks[0].why


def test_names_of_exported_rules_are_names_of_files_in_their_order() -> None:
    ours = loaded('rules: [{name: "../../etc/x", action: deny}, {name: "a:|b", action: deny}]')
    names = [each["name"] for each in export_opensnitch(ours, Report())]
    assert sorted(names) == names
    assert all(re.fullmatch(r"[0-9]{5}-[\w .-]+", name) for name in names)


def test_a_rule_that_little_snitch_would_let_decide_first_gets_no_priority_over_ours() -> None:
    ours = loaded(
        """
rules:
  - {name: all but one, action: deny, exe: /usr/bin/curl}
  - {name: one, action: allow, exe: /usr/bin/curl, daddr: 192.0.2.1}
"""
    )
    report = Report()
    found: dict[str, Any] = export_lsrules(ours, "t", report)
    assert [(each["action"], each.get("priority")) for each in found["rules"]] == [
        ("deny", "high"),
        ("allow", None),
    ]
    assert not report.unsaid


def test_what_no_priority_can_put_in_our_order_is_left_out_if_it_allows() -> None:
    ours = loaded(
        """
rules:
  - {name: udp, action: deny, proto: udp}
  - {name: curl, action: allow, exe: /usr/bin/curl, dport: 443}
  - {name: tracker, action: deny, host: tracker.example}
"""
    )
    report = Report()
    found = export_lsrules(ours, "t", report)
    assert [each["notes"] for each in found["rules"]] == ["udp", "tracker"]
    (remark,) = (each for each in report.remarks if each.rule == "curl")
    assert "decide before rule 'udp'" in remark.why


def test_port_0_is_not_meant_where_opensnitch_says_it_of_what_has_no_ports() -> None:
    ours = loaded("rules: [{name: r, action: allow, dport: 0-1024}]")
    (rule,) = export_opensnitch(ours, Report())
    assert rule["operator"]["data"] == "1-1024"
    ping = Connection(proto=Protocol.ICMP)
    assert decide([rule], ping) is None
    assert ours.rule_on(ping.case()).action is Action.ASK
