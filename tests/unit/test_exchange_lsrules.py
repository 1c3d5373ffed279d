"""Groups of Little Snitch's rules become ours, the more specific rules first."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfsnitch.adapters.rulefile import Names
from nfsnitch.adapters.rulefile.files import Source as Text
from nfsnitch.adapters.rulefile.loader import load_text
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.exchange.draft import FileDraft
from nfsnitch.exchange.lsrules_import import import_lsrules
from nfsnitch.exchange.report import ImportFailedError, Kind, Report
from opensnitch_model import Connection

NAMES = Names(lambda _: None, lambda _: frozenset())
CURL = "/usr/bin/curl"


def imported(*rules: object, **group: object) -> tuple[FileDraft, Report]:
    report = Report()
    text = json.dumps({"name": "a group", "rules": list(rules), **group})
    return import_lsrules("g.lsrules", text, NAMES, report), report


def loaded(draft: FileDraft) -> Ruleset:
    return load_text(Text(0, "r.yaml", draft.text()), NAMES)


@pytest.mark.parametrize(
    ("rule", "fields"),
    [
        ({"process": "any"}, {}),
        ({"process": CURL}, {"exe": (CURL,)}),
        ({"process": "/opt/a*b"}, {"exe": (r"/opt/a\*b",)}),
        ({"remote": "any", "ports": "any", "protocol": "any"}, {}),
        ({"remote-hosts": "A.example."}, {"host": ("a.example",)}),
        ({"remote-hosts": "bücher.example"}, {"host": ("xn--bcher-kva.example",)}),
        ({"remote-domains": ["a.example"]}, {"host": ("a.example", "*.a.example")}),
        (
            {"remote-addresses": "192.0.2.9/24, 10.0.0.1 - 10.0.0.5,::1"},
            {"daddr": ("192.0.2.0/24", "10.0.0.1-10.0.0.5", "::1")},
        ),
        ({"ports": "80, 443,8000-8080"}, {"dport": ("80", "443", "8000-8080")}),
        ({"ports": 443, "protocol": 6}, {"proto": ("tcp",), "dport": ("443",)}),
        ({"protocol": "47"}, {"proto": ("gre",)}),
        ({"protocol": "99"}, {"proto": ("99",)}),
        ({"remote": "multicast"}, {"daddr": ("224.0.0.0/4", "ff00::/8")}),
        ({"process": CURL, "via": "/bin/nc"}, {"exe": ("/bin/nc",), "parent": (CURL,)}),
    ],
)
def test_a_rule_becomes_fields_that_say_the_same(
    rule: dict[str, object], fields: dict[str, tuple[str, ...]]
) -> None:
    draft, report = imported({"action": "deny", **rule})
    assert not report.unsaid, report.remarks
    (only,) = draft.rules
    assert (only.action, only.fields) == ("deny", fields)
    assert len(loaded(draft).rules) == 1


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ({"process": "/Applications/A.app/Contents/MacOS/A"}, "a program of macOS"),
        ({"process": "identifier:com.example.a"}, "known by their paths"),
        ({"direction": "incoming"}, "incoming connections"),
        ({"remote": "local-net"}, "addresses of your networks"),
        ({"remote": "dns-servers"}, "addresses of your name servers"),
        ({"remote": "bpf"}, "proto: packet"),
        ({"remote": "elsewhere"}, "is none of"),
        ({"remote-hosts": "a.example", "remote": "any"}, "of which a rule has one"),
        ({"remote-hosts": ""}, "names none"),
        ({"remote-hosts": ["*.a.example"]}, "no address or name"),
        ({"remote-addresses": "10.0.0.0/40"}, "no address or name"),
        ({"remote": "bonjour", "ports": "80"}, "names another"),
        ({"ports": "http"}, "no port and no range"),
        ({"ports": "9-1"}, "no such range"),
        ({"ports": "70000"}, "no such range"),
        ({"protocol": "999"}, "none that is known"),
        ({"owner": "me"}, "write the user"),
        ({"priority": "highest"}, "is none of"),
        ({"disabled": 1}, "true or false"),
        ({"hours": "9-5"}, "nothing is known of 'hours'"),
    ],
)
def test_what_cannot_be_said_is_left_out_and_told(rule: dict[str, object], why: str) -> None:
    draft, report = imported({"action": "deny", **rule})
    assert draft.rules == []
    (remark,) = report.remarks
    assert remark.kind is Kind.LEFT_OUT
    assert why in remark.why


def test_what_is_said_in_part_is_told() -> None:
    both, report = imported({"action": "allow", "process": CURL, "direction": "both"})
    assert (len(both.rules), report.remarks[0].kind) == (1, Kind.IN_PART)
    some, report = imported({"action": "deny", "remote-hosts": ["a.example", "b c"]})
    assert some.rules[0].fields == {"host": ("a.example",)}
    assert "1 of 2 values" in report.remarks[0].why
    _, report = imported({"action": "deny", "creationDate": "2020"}, profile="work")
    kinds = {each.why: each.kind for each in report.remarks}
    assert kinds["nothing is known of 'profile'"] is Kind.LEFT_OUT
    assert kinds["dates and origins of rules are not kept"] is Kind.CHANGED


def test_a_rule_without_an_action_asks_and_a_disabled_one_is_out_of_force() -> None:
    draft, _ = imported({"process": CURL, "notes": " a\nb ", "disabled": True})
    (rule,) = draft.rules
    assert (rule.action, rule.note, rule.enabled) == ("ask", "a b", False)


ANY_TO_DOMAIN = {"action": "deny", "remote-domains": "example.org"}
ORDERS = [
    ({"action": "deny"}, {"action": "allow", "priority": "high"}),
    (ANY_TO_DOMAIN, {"action": "allow", "remote-hosts": "www.example.org"}),
    ({"action": "deny", "remote-hosts": "www.example.org"}, {"remote-addresses": "10.1.2.3"}),
    ({"action": "allow", "process": CURL}, ANY_TO_DOMAIN),
    (ANY_TO_DOMAIN, {"action": "allow", "remote-domains": "www.example.org"}),
    ({"action": "deny", "remote-addresses": "10.0.0.0/8"}, {"remote-addresses": "10.1.0.0/16"}),
    ({"action": "deny"}, {"action": "allow", "process": CURL}),
    ({"action": "deny", "process": CURL}, {"action": "allow", "process": CURL, "ports": "443"}),
    ({"action": "deny", "process": CURL}, {"action": "allow", "process": CURL, "protocol": "tcp"}),
    ({"action": "allow", "process": CURL}, {"action": "deny", "process": CURL}),
]


@pytest.mark.parametrize(("general", "specific"), ORDERS)
def test_the_more_specific_rule_decides_wherever_it_stands(
    general: dict[str, object], specific: dict[str, object]
) -> None:
    case = Connection(host="www.example.org", daddr="10.1.2.3").case()
    for rules in ((general, specific), (specific, general)):
        draft, report = imported(*rules)
        assert not report.unsaid
        assert loaded(draft).rule_on(case).action == specific.get("action", "ask")


def test_what_is_denied_by_the_group_gives_way_to_what_is_more_specific() -> None:
    draft, report = imported(
        {"action": "allow", "remote-domains": "fine.tracker.example"},
        **{
            "denied-remote-domains": ["tracker.example", "bad.fine.tracker.example", "b.example"],
            "denied-remote-hosts": ["one.example"],
            "denied-remote-addresses": ["203.0.113.0/24", "198.51.100.1"],
            "denied-remote-notes": "a blocklist",
        },
    )
    assert not report.unsaid
    ruleset = loaded(draft)
    assert {each.note for each in ruleset.rules} == {None, "a blocklist"}
    for host, daddr, action in (
        ("tracker.example", "10.0.0.1", "deny"),
        ("x.tracker.example", "10.0.0.1", "deny"),
        ("fine.tracker.example", "10.0.0.1", "allow"),
        ("x.bad.fine.tracker.example", "10.0.0.1", "deny"),
        ("fine.tracker.example", "203.0.113.7", "deny"),
        ("one.example", "10.0.0.1", "deny"),
        ("x.one.example", "10.0.0.1", "ask"),
    ):
        case = Connection(host=host, daddr=daddr).case()
        assert ruleset.rule_on(case).action == action, host


def test_a_blocklist_of_many_domains_becomes_few_rules() -> None:
    domains = [f"d{at}.example" for at in range(5_000)]
    draft, report = imported(**{"denied-remote-domains": domains})
    assert (len(draft.rules), report.remarks) == (1, ())
    case = Connection(host="a.d4999.example").case()
    assert loaded(draft).rule_on(case).action == "deny"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"rules": ' + "[" * 99, "\x00"])
def test_a_text_that_is_no_group_is_refused(text: str) -> None:
    with pytest.raises(ImportFailedError):
        import_lsrules("g", text, NAMES, Report())


KEYS = [
    *("action", "process", "via", "remote-addresses", "remote-hosts", "remote-domains", "remote"),
    *("ports", "protocol", "direction", "priority", "disabled", "notes", "owner", "odd"),
]
ODD: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.text(max_size=12),
        st.text(alphabet="0123456789./-:, abc*", max_size=20),
        st.sampled_from(["any", "allow", "deny", "/usr/bin/a", "a.example", "10.0.0.1", "tcp"]),
    ),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
GROUPS = st.dictionaries(
    st.sampled_from(
        [
            *("name", "description", "rules", "denied-remote-domains", "denied-remote-hosts"),
            *("denied-remote-addresses", "denied-remote-notes", "odd"),
        ]
    ),
    st.one_of(ODD, st.lists(st.dictionaries(st.sampled_from(KEYS), ODD, max_size=5), max_size=3)),
    max_size=4,
)


@settings(max_examples=100, deadline=None)
@given(GROUPS)
def test_whatever_stands_in_a_group_gives_a_report_and_rules_that_load(
    group: dict[str, object],
) -> None:
    report = Report()
    draft = import_lsrules("g.lsrules", json.dumps(group), NAMES, report)
    assert len(loaded(draft).rules) == len(draft.rules)
    assert all(line.isprintable() for line in report.lines(len(draft.rules), "imported"))
