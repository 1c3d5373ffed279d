"""Rules of OpenSnitch become ours and decide alike; what they cannot become is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfsnitch.adapters.rulefile import Names
from nfsnitch.adapters.rulefile.files import Source as Text
from nfsnitch.adapters.rulefile.loader import load_text
from nfsnitch.core.decision import Action
from nfsnitch.core.flow import Protocol
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.exchange.draft import FileDraft
from nfsnitch.exchange.opensnitch_import import Source, import_opensnitch
from nfsnitch.exchange.report import ImportFailedError, Kind, Report
from opensnitch_model import Connection, decide

NAMES = Names({"alice": 1000}.get, lambda _: frozenset())
FILE = "/etc/opensnitchd/rules/r.json"


def rule(name: str = "r", **fields: object) -> dict[str, Any]:
    """Return a rule as OpenSnitch's files have it."""
    return {
        "created": "2023-01-01T00:00:00Z",
        "name": name,
        "description": "",
        "enabled": True,
        "precedence": False,
        "nolog": False,
        "action": "allow",
        "duration": "always",
        "operator": operator(),
        **fields,
    }


def operator(
    operand: str = "process.path",
    data: str = "/usr/bin/curl",
    kind: str = "simple",
    *,
    sensitive: bool = False,
) -> dict[str, Any]:
    return {"type": kind, "operand": operand, "data": data, "sensitive": sensitive, "list": None}


def all_of(*operators: dict[str, Any]) -> dict[str, Any]:
    return {**operator("list", "", "list"), "list": list(operators)}


def imported(
    *rules: object,
    config: tuple[str, str] | None = None,
    aliases: tuple[str, str] | None = None,
) -> tuple[FileDraft, Report]:
    report = Report()
    texts = [(FILE, json.dumps(list(rules)))]
    folders = {"/lists": ["/lists/ads.txt", "/lists/more.txt"], "/none": []}
    source = Source("/rules", texts, config, aliases)
    return import_opensnitch(source, folders.get, NAMES, report), report


def loaded(draft: FileDraft) -> Ruleset:
    return load_text(Text(0, "rules.yaml", draft.text()), NAMES)


def fields_of(made: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the fields of the one rule that a condition becomes."""
    draft, report = imported(rule(operator=made))
    assert not report.unsaid, report.remarks
    (only,) = draft.rules
    return dict(only.fields)


def reason(made: dict[str, Any], kind: Kind = Kind.LEFT_OUT) -> str:
    """Return what is told of a rule with a condition."""
    _, report = imported(rule(operator=made))
    (remark,) = (each for each in report.remarks if each.kind is kind)
    return remark.why


@pytest.mark.parametrize(
    ("made", "fields"),
    [
        (operator("true", ""), {}),
        (operator(data="/opt/a[b]/x*"), {"exe": (r"/opt/a\[b]/x\*",)}),
        (operator("process.parent.path", "/usr/bin/make"), {"parent": ("/usr/bin/make",)}),
        (operator("process.command", "curl a.b"), {"args": (r"(?i)^curl a\.b$",)}),
        (operator("process.command", "^ssh", "regexp", sensitive=True), {"args": ("^ssh",)}),
        (operator("process.command", "^ssh .*", "regexp"), {"args": ("(?i-s)^ssh .*",)}),
        (operator("process.id", "17"), {"pid": ("17",)}),
        (operator("user.id", "1000"), {"uid": ("1000",)}),
        (operator("user.id", "^(0|1000)$", "regexp"), {"uid": ("0", "1000")}),
        (operator("user.name", "alice"), {"user": ("alice",)}),
        (operator("dest.ip", "2001:DB8::1"), {"daddr": ("2001:db8::1",)}),
        (operator("dest.ip", r"^10\..*", "regexp"), {"daddr": ("10.0.0.0/8",)}),
        (operator("dest.network", "192.0.2.9/24", "network"), {"daddr": ("192.0.2.0/24",)}),
        (operator("source.network", "fe80::/10", "network"), {"saddr": ("fe80::/10",)}),
        (operator("dest.port", "443"), {"dport": ("443",)}),
        (operator("dest.port", "^(80|443|8[0-9])$", "regexp"), {"dport": ("80-89", "443")}),
        (operator("dest.port", "8000-8080", "range"), {"dport": ("8000-8080",)}),
        (operator("dest.port", ".*", "regexp"), {}),
        (operator("protocol", "TCP"), {"proto": ("tcp",), "family": ("ipv4",)}),
        (operator("protocol", "^udp", "regexp"), {"proto": ("udp", "udplite")}),
        (operator("protocol", "icmp6"), {"proto": ("icmpv6",)}),
        (operator("iface.out", "^tun", "regexp"), {"iface": ("tun*",)}),
        (operator("dest.host", "WWW.Example.org"), {"host": ("www.example.org",)}),
        (operator("dest.host", r"\.example\.org$", "regexp"), {"host": ("*.example.org",)}),
        (
            operator("dest.host", r"^(|.*\.)example\.org$", "regexp"),
            {"host": ("example.org", "*.example.org")},
        ),
        (
            operator("process.path", "firefox", "regexp", sensitive=True),
            {"exe": ("/**firefox**",)},
        ),
        (
            operator("process.path", "^/opt/(a|b)/.*$", "regexp"),
            {"exe": ("/opt/a/**", "/opt/b/**")},
        ),
        (
            operator("process.path", "/usr/bin/x$", "regexp"),
            {"exe": ("/usr/bin/x", "/**/usr/bin/x")},
        ),
        (operator("process.path", ".*", "regexp"), {}),
    ],
)
def test_a_condition_becomes_fields_that_say_the_same(
    made: dict[str, Any], fields: dict[str, tuple[str, ...]]
) -> None:
    assert fields_of(made) == fields


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (operator("process.env.HOME", "/root"), "environment"),
        (operator("process.hash.md5", "d41d8cd98f00b204e9800998ecf8427e"), "SHA-256 alone"),
        (operator("iface.in", "eth0"), "matches no packet that this machine sends"),
        (operator("process.path", "^/opt/[^a]+$", "regexp"), "brackets"),
        (operator("process.path", "^/opt/a+$", "regexp"), "repeats something else than"),
        (operator("dest.host", "ads", "regexp"), "where the name ends"),
        (operator("dest.host", "ads.example$", "regexp"), "part of a label"),
        (operator("dest.host", ""), "no name of a host"),
        (operator("dest.ip", "192.168", "regexp"), "part of their digits"),
        (operator("dest.ip", "2001:0db8::1"), "never matches"),
        (operator("dest.port", "0"), "no ports, like ping"),
        (operator("dest.port", "^[0-9]{1,3}$", "regexp"), "no ports, like ping"),
        (operator("dest.port", "http"), "matches no port"),
        (operator("dest.port", "4", "regexp"), "matches ports here and there"),
        (operator("dest.network", "LAN", "network"), "nor an alias that is known"),
        (operator("process.command", r"^\S+ -x", "regexp"), "small letters"),
        (operator("process.command", "(a", "regexp", sensitive=True), "missing"),
        (operator("lists.domains_regexp", "/lists", "lists"), "no such lists"),
        (operator("lists.domains", "", "lists"), "names no folder"),
        (operator("lists.nets", "/none", "lists"), "has no lists"),
        (operator("lists.nets", "/gone", "lists"), "cannot be read"),
        (operator("quota", "1"), "nothing here corresponds"),
        (all_of(), "list of conditions is empty"),
        (all_of(all_of(operator())), "list within a list"),
        (all_of(operator(), operator(data="/usr/bin/wget")), "asks twice for exe"),
        ({**operator(), "negate": True}, "nothing is known of 'negate'"),
        ({**operator(), "data": 5}, "value of another kind"),
    ],
)
def test_what_cannot_be_said_is_left_out_and_told(made: dict[str, Any], why: str) -> None:
    draft, _ = imported(rule(operator=made))
    assert draft.rules == []
    assert why in reason(made)
    assert imported(rule("its name", operator=made))[1].remarks[-1].rule == "its name"


def test_a_deny_that_is_left_out_says_what_that_means() -> None:
    _, report = imported(rule(action="deny", operator=operator("process.env.A", "b")))
    assert "not refused without it" in report.remarks[0].why


def test_a_dot_that_is_meant_as_one_is_taken_as_one_and_told() -> None:
    draft, report = imported(rule(operator=operator("dest.host", "^a.example$", "regexp")))
    assert draft.rules[0].fields == {"host": ("a.example",)}
    assert [each.kind for each in report.remarks] == [Kind.IN_PART]


def test_conditions_that_stand_in_a_text_are_read_and_told() -> None:
    made = {**all_of(), "data": json.dumps([operator(), operator("dest.port", "443")])}
    draft, report = imported(rule(operator=made))
    assert draft.rules[0].fields == {"exe": ("/usr/bin/curl",), "dport": ("443",)}
    assert "there it matches every connection" in report.remarks[0].why
    draft, report = imported(rule(operator=made, enabled=False))
    assert not draft.rules[0].enabled
    assert not any("every connection" in each.why for each in report.remarks)


@pytest.mark.parametrize("duration", ["once", "until restart", "30m"])
def test_what_is_allowed_for_a_time_is_put_out_of_force_and_what_is_refused_stays(
    duration: str,
) -> None:
    draft, report = imported(
        rule("a", duration=duration), rule("d", action="deny", duration=duration)
    )
    assert {each.name: each.enabled for each in draft.rules} == {"d": True, "a": False}
    assert sum("anew with each start" in each.why for each in report.remarks) == 2


def test_lists_become_lists_of_the_rule_file() -> None:
    made = operator("lists.domains", "/lists", "lists")
    other = operator("lists.nets", "/lists", "lists")
    draft, report = imported(
        rule("a", action="deny", operator=made), rule("b", action="deny", operator=other)
    )
    assert not report.unsaid
    assert [(each.name, each.where, each.format) for each in draft.lists] == [
        ("ads", "/lists/ads.txt", "hosts"),
        ("more", "/lists/more.txt", "hosts"),
        ("ads-2", "/lists/ads.txt", "networks"),
        ("more-2", "/lists/more.txt", "networks"),
    ]
    assert [each.fields["list"] for each in draft.rules] == [("ads", "more"), ("ads-2", "more-2")]
    assert len(loaded(draft).lists) == 4


def test_aliases_of_networks_are_looked_up() -> None:
    made = rule(operator=operator("dest.network", "LAN", "network"))
    aliases = ("aliases.json", json.dumps({"LAN": ["10.0.0.0/8", "fc00::/7"]}))
    draft, _ = imported(made, aliases=aliases)
    assert draft.rules[0].fields == {"daddr": ("10.0.0.0/8", "fc00::/7")}


def test_the_default_action_is_what_happens_if_nobody_answers() -> None:
    draft, _ = imported(config=("c.json", '{"DefaultAction": "deny"}'))
    ruleset = loaded(draft)
    assert (ruleset.default, ruleset.unanswered) == (Action.ASK, Action.DENY)
    with pytest.raises(ImportFailedError, match="no DefaultAction"):
        imported(config=("c.json", "{}"))


def test_of_two_rules_of_one_name_the_last_counts_and_that_is_told() -> None:
    draft, report = imported(rule("a"), rule("a", action="deny"))
    assert [each.action for each in draft.rules] == ["deny"]
    assert "another rule of this name" in report.remarks[0].why


def test_of_several_rules_that_allow_the_one_that_decides_is_opensnitchs() -> None:
    ruleset = loaded(imported(rule("a"), rule("c"), rule("b"), rule("0", enabled=False))[0])
    assert ruleset.rule_on(Connection().case()).rule == "c"


def test_names_that_differ_in_nothing_that_can_be_written_stay_apart() -> None:
    draft, _ = imported(rule("a" * 300), rule("a" * 301), rule("\x1b[31m"))
    names = [each.name for each in draft.rules]
    assert len(set(names)) == 3
    assert r"\x1b[31m" in names
    assert len(loaded(draft).rules) == 3


PATHS = ["/usr/bin/curl", "/usr/bin/wget", "/opt/app/bin/app", "/opt/app"]
HOSTS = ["", "example.org", "www.example.org", "tracker.example", "xexample.org"]
ADDRESSES = ["198.51.100.7", "10.1.2.3", "10.2.0.1", "2001:db8::1"]
OPERATORS = [
    operator("true", ""),
    *(operator(data=path) for path in PATHS[:3]),
    operator("process.path", "^/usr/bin/(curl|wget)$", "regexp"),
    operator("process.path", "app", "regexp"),
    operator("process.path", "^/opt/app/.*", "regexp", sensitive=True),
    operator("process.path", "/usr/bin/cur.", "regexp"),
    operator("process.parent.path", "/usr/bin/make"),
    operator("process.command", "INSECURE", "regexp"),
    operator("process.command", "^curl .*(secure|plain)", "regexp", sensitive=True),
    operator("user.id", "0"),
    operator("user.id", "^(0|1000)$", "regexp"),
    operator("dest.ip", "10.1.2.3"),
    operator("dest.ip", r"^10\.1\..*", "regexp"),
    operator("dest.network", "10.0.0.0/8", "network"),
    operator("dest.network", "2001:db8::/32", "network"),
    operator("dest.port", "443"),
    operator("dest.port", "^(80|443)$", "regexp"),
    operator("dest.port", "1-1024", "range"),
    operator("dest.port", "^4", "regexp"),
    operator("protocol", "tcp"),
    operator("protocol", "tcp6"),
    operator("protocol", "^(udp|tcp6|icmp)", "regexp"),
    operator("dest.host", "example.org"),
    operator("dest.host", r"^(.*\.)?example\.org$", "regexp"),
    operator("dest.host", r"\.example\.org$", "regexp"),
    operator("iface.out", "eth0"),
]
RULES = st.builds(
    rule,
    st.sampled_from(["000-a", "b", "B", "c", "é", "z z", "zz"]),
    action=st.sampled_from(["allow", "allow", "deny", "reject"]),
    precedence=st.booleans(),
    enabled=st.sampled_from([True, True, True, False]),
    operator=st.one_of(
        st.sampled_from(OPERATORS),
        st.lists(st.sampled_from(OPERATORS), min_size=1, max_size=3).map(lambda few: all_of(*few)),
    ),
)
CONNECTIONS = st.builds(
    Connection,
    path=st.sampled_from(PATHS),
    args=st.sampled_from(["curl --insecure x", "curl a", "app", "curl plain"]),
    parents=st.sampled_from([(), ("/usr/bin/bash", "/usr/bin/make"), ("/usr/bin/bash",)]),
    uid=st.sampled_from([0, 1000, 1001]),
    host=st.sampled_from(HOSTS),
    daddr=st.sampled_from(ADDRESSES),
    dport=st.sampled_from([80, 443, 1024, 8443]),
    proto=st.sampled_from([Protocol.TCP, Protocol.UDP]),
    iface=st.sampled_from(["eth0", "wg0"]),
)
PINGS = st.builds(
    Connection,
    path=st.sampled_from(PATHS),
    daddr=st.just("10.1.2.3"),
    proto=st.just(Protocol.ICMP),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(RULES, max_size=6), st.lists(st.one_of(CONNECTIONS, PINGS), min_size=1, max_size=8))
def test_rules_decide_as_they_do_in_opensnitch(
    rules: list[dict[str, Any]], connections: list[Connection]
) -> None:
    draft, report = imported(*rules)
    left_out = {each.rule for each in report.remarks if each.kind is not Kind.CHANGED}
    ruleset = loaded(draft)
    for connection in connections:
        kept = [each for each in rules if each["name"] not in left_out]
        theirs = decide(kept, connection)
        ours = ruleset.rule_on(connection.case())
        assert ours.action == (theirs or Action.ASK), (connection, draft.text())


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=20),
        st.sampled_from(["list", "simple", "regexp", "lists", "network", "range", "allow", "[]"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(st.sampled_from([*rule(), *operator()]), st.text(max_size=5)),
            inner,
            max_size=6,
        ),
    ),
    max_leaves=20,
)
ODD_OPERATORS = st.builds(
    operator,
    st.sampled_from(
        [
            *("process.path", "process.command", "process.id", "user.id", "user.name", "dest.ip"),
            *("dest.host", "dest.port", "dest.network", "protocol", "iface.out", "lists.domains"),
            *("source.ip", "process.parent.path", "process.hash.sha256", "source.port"),
        ]
    ),
    st.one_of(st.text(max_size=20), st.text(alphabet=r"^$.*+?()[]{}|\/-a0:,", max_size=20)),
    st.sampled_from(["simple", "regexp", "network", "range", "lists", ""]),
    sensitive=st.booleans(),
)


@settings(max_examples=100, deadline=None)
@given(st.one_of(JSON, st.builds(rule, st.text(max_size=9), operator=ODD_OPERATORS)))
def test_whatever_stands_in_a_file_gives_a_report_and_rules_that_load(found: object) -> None:
    draft, report = imported(found)
    assert len(loaded(draft).rules) == len(draft.rules)
    assert all(line.isprintable() for line in report.lines(len(draft.rules), "imported"))
    assert draft.rules or report.remarks or found == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 100_000, "nested deeper"),
        ("{", "line 1"),
        ("NaN", "no number"),
        ("9" * 5_000, "no JSON"),
        ('{"name": "\\ud800", "action": "deny"}', "no condition"),
    ],
)
def test_a_file_that_is_none_is_told_of_and_the_others_are_read(text: str, why: str) -> None:
    report = Report()
    files = [("a.json", text), ("b.json", json.dumps(rule()))]
    draft = import_opensnitch(Source("/rules", files), lambda _: None, NAMES, report)
    assert [each.name for each in draft.rules] == ["r"]
    assert report.unsaid == 1
    if why != "no condition":
        assert why in report.remarks[0].why
