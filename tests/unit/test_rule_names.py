"""What rule files say of names and lists."""

from collections.abc import Callable
from pathlib import Path

import pytest

from nfsnitch.adapters.rulefile import Names, RuleFileError, load
from nfsnitch.core.decision import Action
from nfsnitch.core.listing import ListFormat
from nfsnitch.core.name_conditions import HostCondition, HostNames, ListCondition
from nfsnitch.core.rule import AtQuestion, Rule
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.core.settings import Limits, NameSettings

Load = Callable[[str], Ruleset]
NAMES = Names(lambda _: None, lambda _: frozenset())


@pytest.fixture
def loaded(tmp_path: Path) -> Load:
    def from_text(text: str) -> Ruleset:
        file = tmp_path / "r.yaml"
        file.write_text(text, encoding="utf-8")
        return load([file], NAMES)

    return from_text


def rule_of(loaded: Load, fields: str, before: str = "") -> Rule:
    (made,) = loaded(f"{before}\nrules:\n- {{name: r, action: deny, {fields}}}\n").rules
    return made


def names_of(rule: Rule) -> HostNames:
    (condition,) = rule.conditions
    assert isinstance(condition, HostCondition)
    return condition.wanted


@pytest.mark.parametrize(
    ("written", "exact", "below"),
    [
        ("example.org", {"example.org"}, set()),
        ("WWW.Example.ORG.", {"www.example.org"}, set()),
        ("'*.example.org'", set(), {"example.org"}),
        ("[a.test, '*.a.test']", {"a.test"}, {"a.test"}),
        ("bücher.example", {"xn--bcher-kva.example"}, set()),
        ("'*.bücher.example'", set(), {"xn--bcher-kva.example"}),
        ("_dmarc.example.org", {"_dmarc.example.org"}, set()),
        ("localhost", {"localhost"}, set()),
    ],
)
def test_hosts_are_taken_in_the_form_that_dns_has(
    loaded: Load, written: str, exact: set[str], below: set[str]
) -> None:
    wanted = names_of(rule_of(loaded, f"host: {written}"))
    assert (set(wanted.exact), set(wanted.below)) == (exact, below)


def test_groups_of_hosts_contain_each_other(loaded: Load) -> None:
    groups = "groups: {a: {hosts: [x.test, b]}, b: {hosts: '*.y.test'}}"
    wanted = names_of(rule_of(loaded, "host: [a, z.test]", groups))
    assert (set(wanted.exact), set(wanted.below)) == ({"x.test", "z.test"}, {"y.test"})


@pytest.mark.parametrize(
    ("written", "why", "instead"),
    [
        ("'*'", "at the beginning alone", "'*.example.org'"),
        ("'www.*.org'", "at the beginning alone", "'*.example.org'"),
        ("'*.'", "at the beginning alone", "'*.example.org'"),
        (".example.org", "does not begin with a dot", "'*.example.org'"),
        ("192.0.2.1", "an address, not a name", "daddr: 192.0.2.1"),
        ("'2001:db8::1'", "an address, not a name", "daddr: 2001:db8::1"),
        ("https://example.org", "labels of letters", "without http://"),
        ("example.org:443", "labels of letters", "port"),
        ("a..b", "labels of letters", "www.example.org"),
        (f"{'a' * 64}.org", "labels of letters", "www.example.org"),
        (".".join(["abc"] * 70), "labels of letters", "www.example.org"),
        ("'ex ample.org'", "labels of letters", "www.example.org"),
        ("'-a.org'", "labels of letters", "www.example.org"),
        ("'\\u2024.org'", "labels of letters", "www"),
    ],
)
def test_what_is_no_name_of_a_host_is_refused(
    loaded: Load, written: str, why: str, instead: str
) -> None:
    with pytest.raises(RuleFileError) as caught:
        rule_of(loaded, f"host: {written}")
    (problem,) = caught.value.problems
    assert why in problem.why
    assert instead in problem.instead


def test_lists_are_known_by_name_and_shared_by_rules(loaded: Load) -> None:
    rules = loaded(
        "lists:\n"
        "  ads: {url: 'https://lists.example/ads.txt', format: hosts, refresh: 12h}\n"
        f"  mine: {{file: /etc/nfsnitch/mine.txt, sha256: {'AB' * 32}}}\n"
        "rules:\n"
        "- {name: a, action: deny, list: [ads, mine]}\n"
        "- {name: b, action: deny, exe: /x, list: {not: ads}}\n"
    )
    ads, mine = rules.lists
    assert ads.definition[:5] == (
        *("ads", "https://lists.example/ads.txt", ListFormat.HOSTS, 43_200, None),
    )
    assert mine.definition.sha256 == "ab" * 32
    assert mine.definition.format is ListFormat.AUTO
    assert mine.definition.origin.endswith("r.yaml:3")
    assert rules.rules[0].conditions == (ListCondition("list", (ads, mine)),)
    assert rules.rules[1].conditions[-1] == ListCondition("list", (ads,), negated=True)


@pytest.mark.parametrize(
    ("written", "why", "instead"),
    [
        ("[a]", "takes a mapping", "ads: {file:"),
        ("{1a: {file: /x}}", "is a letter, then", "ads"),
        ("{a: /x}", "takes a mapping", "ads: {file:"),
        ("{a: {}}", "does not say where", "file: and a path"),
        ("{a: {file: /x, url: 'http://x.test/'}}", "in one place", "file: and a path"),
        ("{a: {flie: /x}}", "a list has file, url", "did you mean 'file'?"),
        ("{a: {file: x}}", "the whole path", "/etc/nfsnitch/ads.txt"),
        ("{a: {file: /x/}}", "the whole path", "/etc/nfsnitch/ads.txt"),
        ("{a: {url: 'ftp://x.test/'}}", "http or https", "file:"),
        ("{a: {url: 'file:///etc/passwd'}}", "http or https", "file:"),
        ("{a: {url: 'https://u:p@x.test/'}}", "end up in logs", "without them"),
        ("{a: {url: 'https://[x/'}}", "no URL", "https://"),
        ("{a: {url: 'https://x.test/ä'}}", "printable ASCII", "%xx"),
        ("{a: {file: /x, format: host}}", "one of auto, hosts", "did you mean 'hosts'?"),
        ("{a: {file: /x, refresh: 5m}}", "from 10m to 90d", "1d"),
        ("{a: {file: /x, refresh: daily}}", "a number with its unit", "12h"),
        ("{a: {file: /x, sha256: abc}}", "64 hexadecimal digits", "sha256sum"),
        ("{a: {file: [/x]}}", "a single value", "one value"),
    ],
)
def test_what_is_no_list_is_refused(loaded: Load, written: str, why: str, instead: str) -> None:
    with pytest.raises(RuleFileError) as caught:
        loaded(f"lists: {written}\nrules: []\n")
    problem = min(caught.value.problems)
    assert why in problem.why
    assert instead in problem.instead


def test_a_rule_names_only_lists_that_there_are(loaded: Load) -> None:
    with pytest.raises(RuleFileError, match="no such list; did you mean 'ads'"):
        rule_of(loaded, "list: asd", "lists: {ads: {file: /x}}")


def test_too_many_lists_are_refused(loaded: Load) -> None:
    lists = "\n".join(f"  l{number}: {{file: /x}}" for number in range(257))
    with pytest.raises(RuleFileError, match="there may be 256 lists"):
        loaded(f"lists:\n{lists}\nrules: []\n")


def test_an_unknown_name_does_what_the_rule_says_or_else_the_file(loaded: Load) -> None:
    rules = loaded(
        "on_unknown_name: ask\n"
        "rules:\n"
        "- {name: a, action: deny, host: a.test}\n"
        "- {name: b, action: deny, host: a.test, on_unknown_name: skip}\n"
        "- {name: c, action: allow, host: a.test, on_unknown_name: reject}\n"
        "- {name: d, action: deny}\n"
    )
    unknown = [each.on_unknown_name for each in rules.rules]
    assert unknown == [Action.ASK, None, Action.REJECT, None]
    assert rule_of(loaded, "host: a.test").on_unknown_name is None


def test_a_rule_may_refuse_the_question(loaded: Load) -> None:
    assert rule_of(loaded, "host: a.test, exe: /x, dns: refuse").dns is AtQuestion.REFUSE
    assert rule_of(loaded, "host: a.test, dns: drop").dns is AtQuestion.DROP
    assert loaded("rules: [{name: r, action: deny, host: a.test, dns: drop}]").refuses_questions


@pytest.mark.parametrize(
    ("fields", "why", "instead"),
    [
        ("on_unknown_name: deny", "asks for no name", "add host:"),
        ("dns: refuse", "asks for no name", "add host:"),
        ("host: a.test, on_unknown_name: allow", "one of skip, deny", "a rule of its own"),
        ("host: a.test, dns: nxdomain", "one of refuse, drop", "refuse or drop"),
        ("host: a.test, dns: refuse, dport: 443", "no dport is known yet", "remove dport"),
        ("host: a.test, dns: refuse, iface: eth0", "no iface is known yet", "remove iface"),
    ],
)
def test_what_makes_no_sense_with_names_is_refused(
    loaded: Load, fields: str, why: str, instead: str
) -> None:
    with pytest.raises(RuleFileError) as caught:
        rule_of(loaded, fields)
    (problem,) = caught.value.problems
    assert why in problem.why
    assert instead in problem.instead


def test_what_is_allowed_is_not_refused_at_the_question(loaded: Load) -> None:
    with pytest.raises(RuleFileError, match="this is to allow; write action: deny or reject"):
        loaded("rules: [{name: r, action: allow, host: a.test, dns: drop}]")


def test_settings_of_names_are_taken_as_written(loaded: Load) -> None:
    rules = loaded(
        "names: {first_data: false, libc: false, keep: 24h}\n"
        "limits: {names: 100, names_of_process: 10}\nrules: []\n"
    )
    day_ns = 86_400 * 10**9
    assert rules.settings.names == NameSettings(first_data=False, libc=False, keep_ns=day_ns)
    assert rules.settings.limits == Limits(names=100, names_of_process=10)
    with pytest.raises(RuleFileError, match="a day is the most"):
        loaded("names: {keep: 25h}\nrules: []\n")
