"""What bad rule files are told: where, what, why, and what to write instead."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nfsnitch.adapters.rulefile import Names, RuleFileError, load
from nfsnitch.adapters.rulefile.files import MAX_FILE_BYTES
from nfsnitch.adapters.rulefile.problems import MAX_PROBLEMS

Told = Callable[..., list[str]]
NAMES = Names({"alice": 1000}.get, lambda service: frozenset({80} if service == "http" else ()))


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    monkeypatch.chdir(tmp_path)

    def about(*texts: str | bytes) -> list[str]:
        names = [Path(f"{number}.yaml") for number in range(len(texts))]
        for name, text in zip(names, texts, strict=True):
            name.write_bytes(text if isinstance(text, bytes) else text.encode())
        return problems_of(names)

    return about


def problems_of(paths: list[Path]) -> list[str]:
    with pytest.raises(RuleFileError) as caught:
        load(paths, NAMES)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(caught.value.problems)
    return lines


@pytest.mark.parametrize(
    ("text", "place", "what", "instead"),
    [
        ("rules: [", "1:9", "not YAML", "quotes"),
        ("rules:\n\t- name: a", "2:1", "a tab", "spaces"),
        ("a: b: c", "1:5", "not YAML", "quotes"),
        ("rules: *x", "1:8", "alias '*x'", "quotes"),
        ("rules: &a [*a]", "1:12", "inside what it stands for", "write out"),
        ("default: deny\ndefault: ask", "2:1", "stands on line 1", "write it once"),
        ("rulez: []", "1:1", "unknown key 'rulez'", "did you mean 'rules'?"),
        ("<<: {}", "1:1", "unknown key '<<'", "remove it"),
        ("version: 2", "1:10", "version", "version: 1"),
        ("version: [1]", "1:10", "version", "version: 1"),
        ("default: yes", "1:10", "default 'yes'", "allow, deny, reject or ask"),
        ("default: allwo", "1:10", "default 'allwo'", "did you mean 'allow'?"),
        ("default: [ask]", "1:10", "not a list", "one value"),
        ("unanswered: ask", "1:13", "asked already", "allow, deny or reject"),
        ("timeouts: 30s", "1:11", "takes a mapping", "timeouts: {ask: 30s}"),
        ("timeouts: {aks: 3s}", "1:12", "timeout 'aks'", "did you mean 'ask'?"),
        ("timeouts: {ask: 30}", "1:17", "with its unit", "30s"),
        ("timeouts: {ask: 99ms}", "1:17", "from 100ms to 1h", "30s"),
        ("timeouts: {ask: 2h}", "1:17", "from 100ms to 1h", "30s"),
        ("timeouts: {hang: 1s}", "1:18", "a busy machine", "3s or more"),
        ("fail: opne", "1:7", "fail 'opne'", "did you mean 'open'?"),
        ("fail: shut", "1:7", "one of closed, open", "closed or open"),
        ("loopback: yes", "1:11", "loopback 'yes'", "skip or judge"),
        ("queue_length: 15", "1:15", "from 16 to 1048576", "16 to"),
        ("queue_length: 0x10", "1:15", "decimal digits", "a number up to 1048576"),
        ("reject_mark: 0", "1:14", "no mark", "0x6e667372"),
        ("reject_mark: 0x100000000", "1:14", "of 32 bits", "0x6e667372"),
        ("reject_mark: 4294967296", "1:14", "of 32 bits", "0x6e667372"),
        ("reject_mark: 0x10000001", "1:14", "has queue_bit 0x10000000 in it", "choose a bit"),
        ("queue_bit: 0x3", "1:12", "one bit", "write 0x2"),
        ("queue_bit: 0x2", "1:12", "reject_mark 0x6e667372 has queue_bit 0x2", "choose a bit"),
        ("label: 128", "1:8", "from 0 to 127", "0 to 127"),
        ("limits: 3", "1:9", "takes a mapping", "limits: {held_flows: 16384}"),
        ("limits: {held_flow: 3}", "1:10", "limit 'held_flow'", "did you mean 'held_flows'?"),
        ("limits: {held_flows: 0}", "1:22", "from 1 to", "1 to"),
        ("limits: {held_flows: 30000}", "1:22", "24576 may be held", "write 24576"),
        ("queue_length: 16\nlimits: {held_flows: 13}", "2:22", "12 may be held", "write 12"),
        ("[]", "1:1", "not a list", "rules:"),
        ("just text", "1:1", "not a single value", "rules:"),
        ("", "1:1", "empty file", "rules: []"),
        ("# only this", "1:1", "empty file", "rules: []"),
        ("rules: []\n---\nrules: []", "2:1", "another document", "remove"),
        ("rules: {}", "1:8", "not a mapping", "[]"),
        ("rules:", "1:7", "not a single value", "[]"),
        ("rules: [x]", "1:9", "mapping of fields", "- name:"),
        ("? [a]\n: b", "1:3", "a list as a key", "name"),
        ("rules: !x []", "1:8", "tag '!x'", "remove"),
        ('default: "a\\u0000b"', "1:10", "U+0000", "without"),
        ("default: |\n  deny\n", "1:10", "U+000A", "without"),
        ("default: deny\x1b", "1:14", "U+001B", "remove"),
        ("default: deny\rx", "1:14", "U+000D", "remove"),
        ("x: \u2028", "1:4", "U+2028", "remove"),
        ("groups: []", "1:9", "takes a mapping", "office: [192.0.2.0/24]"),
        ("groups: {a: []}", "1:13", "matches nothing", "remove"),
        ("groups: {a b: 10.0.0.1}", "1:10", "a letter", "office-lan"),
        ("groups: {a: [{b: c}]}", "1:14", "not a mapping", "flat list"),
        ("groups: {a: a}", "1:13", "contain itself", "addresses"),
        ("groups: {a: [b, b], b: a}", "1:24", "contain itself", "addresses"),
        ("groups: {lan: 10.0.0.1, b: lna}", "1:28", "no such group", "did you mean 'lan'?"),
        ("groups: {a: 10.0.0.1/8}", "1:13", "inside the block", "10.0.0.0/8"),
        ("groups: {a: {}}", "1:13", "it is empty", "ports:"),
        ("groups: {a: {port: 80}}", "1:14", "addresses, ports, programs", "did you mean 'ports'?"),
        ("groups: {a: {ports: 1, users: 0}}", "1:24", "one kind", "two groups"),
        ("groups: {a: {ports: []}}", "1:21", "matches nothing", "remove"),
        ("groups: {a: {ports: {x: y}}}", "1:21", "ports and names of groups", "flat list"),
        ("groups: {a: {ports: [80, x]}}", "1:26", "no port, range", "443"),
        ("groups: {a: {programs: curl}}", "1:24", "no such group", "whole path"),
        ("groups: {a: {programs: bin/curl}}", "1:24", "begins with /", "/usr/bin/curl"),
        ("groups: {a: {users: bob}}", "1:21", "no such user", "getent"),
        ("groups: {a: {users: 4294967295}}", "1:21", "from 0 to", "lower"),
        ("groups: {a: {usergroups: bob}}", "1:26", "no such group of users", "getent group"),
        ("groups: {a: {ports: [80, a]}}", "1:26", "contain itself", "the ports"),
        ("groups: {a: {ports: b}, b: {ports: a}}", "1:36", "contain itself", "the ports"),
        ("groups: {a: {ports: b}, b: 10.0.0.1}", "1:21", "group of addresses", "of one kind"),
        (
            "groups: {lan: 10.0.0.1}\nrules: [{name: r, action: deny, dport: lan}]",
            "2:40",
            "a group of addresses",
            "one of ports",
        ),
        (
            "groups: {web: {ports: 80}}\nrules: [{name: r, action: deny, daddr: web}]",
            "2:40",
            "a group of ports",
            "one of addresses",
        ),
        (
            "groups: {browsers: {programs: /x}}\nrules: [{name: r, action: deny, exe: browser}]",
            "2:38",
            "begins with /",
            "did you mean 'browsers'?",
        ),
    ],
)
def test_a_bad_file_is_told_what_is_wrong_and_where(
    told: Told, text: str, place: str, what: str, instead: str
) -> None:
    lines = told(text)
    assert lines[0].startswith(f"0.yaml:{place}: ")
    before, _, after = lines[0].rpartition("; ")
    assert what in before
    assert instead in after


@pytest.mark.parametrize(
    ("field", "what", "instead"),
    [
        ("exee: /x", "unknown field 'exee'", "did you mean 'exe'?"),
        ("exe: curl", "begins with /", "/usr/bin/curl"),
        ("exe: /usr/bin/", "a directory", "/usr/bin/**"),
        ("exe: /usr/../bin/x", "/../", "symlinks resolved"),
        ("exe: '/usr/[bin'", "never closed", "]"),
        ("exe: []", "empty list", "remove the field"),
        ("exe: [[/a]]", "not a list inside a list", "flat list"),
        ("exe: ", "there is nothing", "remove the field"),
        ("exe: {}", "empty mapping", "not:"),
        ("exe: {nto: /a}", "key 'nto'", "did you mean 'not'?"),
        ("exe: {not: {not: /a}}", "not nested", "the values themselves"),
        ("exe: {not: []}", "empty list", "remove the field"),
        ("parent: sh", "begins with /", "/usr/bin/sh"),
        ("args: '(?=x)'", "no lookaround", "a rule before"),
        (r"args: '(a)\1'", "no backreferences", "write what is meant out"),
        ("args: ['']", "there is nothing", "remove the field"),
        ("uid: alice", "a number", "user: 'alice'"),
        ("uid: 4294967295", "from 0 to 4294967294", "lower"),
        ("uid: 1_000", "a number", "user:"),
        ("uid: -1", "a number", "user:"),
        ("user: {not: bob}", "no such user", "getent"),
        ("user: 1000", "no such user", "uid:"),
        ("proto: tpc", "no such protocol", "did you mean 'tcp'?"),
        ("proto: 256", "from 0 to 255", "lower"),
        ("family: ipv5", "one of ipv4, ipv6", "did you mean"),
        ("family: 4", "one of ipv4, ipv6", "write ipv4 or ipv6"),
        ("owner: process", "one of unknown, kernel", "write unknown, kernel or forwarded"),
        ("dport: 65536", "from 0 to 65535", "lower"),
        ("dport: 99999999999999999999", "decimal digits", "80"),
        ("dport: 0x50", "decimal digits", "80"),
        ("dport: 080", "decimal digits", "80"),
        ("dport: 22:22", "decimal digits", "80"),
        ("dport: 90-80", "reversed", "80-90"),
        ("dport: 80-", "no port, range", "8000-8080"),
        ("dport: htpt", "no port, range of ports or service", "443"),
        ("daddr: ofice", "no such group", "groups:"),
        ("daddr: example.org", "no IPv4 or IPv6 address", "group"),
        ("daddr: 10.0.0.1/8", "inside the block", "10.0.0.0/8"),
        ("daddr: 2001:db8::1/32", "inside the block", "2001:db8::/32"),
        ("daddr: 10.0.0.0/33", "from 0 to 32", "lower"),
        ("daddr: 10.0.0.0/255.0.0.0", "decimal digits", "80"),
        ("daddr: 10.0.0.9-10.0.0.1", "reversed", "lower address first"),
        ("daddr: '10.0.0.1-::1'", "one family to the other", "for each"),
        ("daddr: '::ffff:192.0.2.1'", "is IPv4", "192.0.2.1"),
        ("daddr: fe80::1%eth0", "no zone", "without %"),
        ("daddr: 010.0.0.1", "no IPv4 or IPv6 address", "192.0.2.1"),
        ("{family: ipv4, daddr: '::1'}", "addresses are ipv6", "remove family"),
        ("{family: {not: ipv6}, daddr: '::1'}", "addresses are ipv6", "remove family"),
        ("{proto: [icmp, esp], dport: 80}", "no protocol of proto: has ports", "tcp, udp"),
        ("{owner: unknown, exe: /x}", "speaks of a process", "remove exe or owner"),
        ("{owner: kernel, uid: oops}", "speaks of a process", "remove uid or owner"),
        ("{owner: kernel, unit: a.service}", "speaks of a process", "remove unit or owner"),
        ("{family: ipv6, saddr: 10.0.0.1}", "addresses are ipv4", "remove family"),
        ("{proto: icmp, sport: 80}", "no protocol of proto: has ports", "remove sport"),
        ("comm: a-name-of-16-byt", "15 bytes", "'a-name-of-16-by'"),
        ("gid: staff", "a number", "group: 'staff'"),
        ("group: {not: nobody-here}", "no such group of users", "getent group"),
        ("group: 7", "no such group of users", "gid:"),
        ("cgroup: system.slice", "begins with /", "'/system.slice'"),
        ("cgroup: /system.slice/", "does not end in /", "'/system.slice/**'"),
        ("unit: cron", ".service", "'cron.service'"),
        ("unit: /system.slice/cron.service", "no path", "'cron.service'"),
        ("unit: system.slice", "units of a slice", "cgroup: '/system.slice/**'"),
        ("unit: '[.service'", "never closed", "]"),
        ("app: firefox", "a kind and a name", "flatpak:NAME"),
        ("app: 'flatpack:a.b'", "a kind and a name", "did you mean 'flatpak'?"),
        ("app: 'snap:'", "a kind and a name", "snap:NAME"),
        ("pid: init", "decimal digits", "80"),
        ("pid: 4194305", "from 0 to 4194304", "lower"),
        ("iface: 'eth 0'", "no such names", "ip link"),
        ("iface: sixteen-letters0", "15 bytes", "check"),
        ("netns: nowhere", "no network namespace of this name", "ip netns"),
        ("netns: 4294967296", "from 0 to 4294967295", "lower"),
        ("schedule: weekdays", "none of mon, tue", "did you mean 'wed'?"),
        ("schedule: xx", "none of mon, tue", "mon-fri 08:00-18:00"),
        ("schedule: mon 8-18", "no time from and to", "08:00-18:00"),
        ("schedule: mon 08:00-24:01", "'24:01' is no time of day", "24:00"),
        ("schedule: 08:60-09:00", "'08:60' is no time of day", "23:59"),
        ("schedule: 08:00-08:00", "no time at all", "00:00-24:00"),
        ("schedule: 24:00-08:00", "no time at all", "00:00-24:00"),
        ("schedule: mon tue 08:00-09:00", "days, hours or both", "mon-fri"),
        ("script: /x.py", "own claim", "exe: with its path"),
        ("{script: /x.py, exe: {not: /usr/bin/perl}}", "own claim", "exe: with its path"),
        ("{script: /x.py, exe: /usr/bin/curl}", "'/usr/bin/curl' is none", "python"),
        ("{script: /x.py, exe: '/usr/bin/*'}", "'/usr/bin/*' is none", "python"),
        ("enabled: no", "one of true, false", "write false"),
        ("enabled: [true]", "not a list", "one value"),
        ("enabled: {not: true}", "not a mapping", "one value"),
        ("expires: tomorrow", "a date", "2030-12-31"),
        ("expires: 2030-02-30", "no such day", "2030-12-31"),
        ("expires: 2030-W01", "a date", "2030-12-31"),
        ("expires: 9999-12-31", "no such day", "2030-12-31"),
        ("note: [a]", "not a list", "one value"),
        ("note: ''", "from 1 to 1000", "why there is this rule"),
        ("exe: lan-programs", "begins with /", "/usr/bin/lan-programs"),
    ],
)
def test_a_bad_field_is_told_what_is_wrong(told: Told, field: str, what: str, instead: str) -> None:
    field = field[1:-1] if field.startswith("{") else field
    (line, *_) = told(f"rules:\n- {{name: r, action: deny, {field}}}\n")
    assert line.startswith("0.yaml:2:")
    assert what in line.rpartition("; ")[0]
    assert instead in line.rpartition("; ")[2]


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ("action: deny", "rule without name"),
        ("name: r", "rule without action"),
        ("{name: '', action: deny}", "from 1 to 200 characters"),
        ("{name: [r], action: deny}", "takes a single value"),
        ("{name: r, action: no}", "action 'no'"),
        ("{name: r, action: {}}", "takes a single value"),
    ],
)
def test_a_rule_needs_a_name_and_an_action(told: Told, fields: str, what: str) -> None:
    (line,) = told(f"rules:\n- {fields}\n")
    assert what in line


def test_all_problems_of_all_files_are_told_in_order(told: Told) -> None:
    lines = told("default: x\nrules:\n- {name: a, action: b, exe: c, dport: [1, d, 99999]}", "[]")
    places = [":".join(line.split(":")[:3]) for line in lines]
    assert places == [
        "0.yaml:1:10",
        "0.yaml:3:21",
        "0.yaml:3:29",
        "0.yaml:3:43",
        "0.yaml:3:46",
        "1.yaml:1:1",
    ]


def test_a_name_used_twice_names_the_place_of_the_first(told: Told) -> None:
    rules = "rules: [{name: r, action: deny}]"
    (line,) = told(rules, rules)
    assert line.startswith("1.yaml:1:16: name 'r': 0.yaml:1:16 has it already")


def test_settings_that_differ_between_files_are_refused(told: Told) -> None:
    (line,) = told("default: deny", "default: ask")
    assert line.startswith("1.yaml:1:10: default 'ask': 0.yaml:1:10 says otherwise")


def test_a_group_defined_twice_is_refused(told: Told) -> None:
    (line,) = told("groups: {a: 10.0.0.1}", "groups: {a: 10.0.0.2}")
    assert line.startswith("1.yaml:1:10: group 'a': 0.yaml:1:10 defines it already")


def test_the_same_bad_list_in_two_rules_is_told_twice(told: Told) -> None:
    rules = "\n".join(f"- {{name: {name}, action: deny, dport: [80, oops]}}" for name in "ab")
    assert [line[:9] for line in told(f"rules:\n{rules}")] == ["0.yaml:2:", "0.yaml:3:"]


def test_a_bad_node_that_an_alias_repeats_is_told_once(told: Told) -> None:
    rules = "- {name: a, action: deny, dport: &p oops}\n- {name: b, action: deny, dport: *p}"
    assert len(told(f"rules:\n{rules}")) == 1


def test_text_that_is_not_utf_8_is_refused_where_it_stands(told: Told) -> None:
    (line,) = told(b"rules: []\n# caf\xe9\n")
    assert line.startswith("0.yaml:2:6: rule file: byte e9 is not UTF-8")


def test_text_from_the_file_cannot_write_to_the_terminal(told: Told) -> None:
    lines = told('"\\e[31m\\u202e": 1\nrules:\n- {name: r, action: deny, args: "(\u202e"}')
    assert all(line.isprintable() for line in lines)
    assert any("\\x1b[31m" in line for line in lines)


def test_a_file_over_16_mib_is_refused(told: Told) -> None:
    (line,) = told(b"#" * (MAX_FILE_BYTES + 1))
    assert "more than 16 MiB" in line


def test_an_alias_bomb_is_refused_before_it_goes_off(told: Told) -> None:
    levels = "".join(
        f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n"
        for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    (line,) = told(f"a: &a [x]\n{levels}")
    assert "with aliases followed it has more than 2000000 values" in line


@pytest.mark.parametrize("text", ["[" * 1_000_000, "{a: " * 100_000, "- " * 1000])
def test_deep_nesting_is_refused(told: Told, text: str) -> None:
    (line,) = told(text)
    assert "32 levels are the limit" in line


def test_deep_nesting_by_aliases_is_refused(told: Told) -> None:
    levels = "".join(f"k{number}: &a{number} [*a{number - 1}]\n" for number in range(1, 40))
    (line,) = told(f"k0: &a0 x\n{levels}")
    assert "with aliases followed it has more than 32 levels" in line


def test_after_very_many_problems_the_rest_is_not_told(told: Told) -> None:
    lines = told("rules: [" + "x, " * 5000 + "]")
    assert len(lines) == MAX_PROBLEMS + 1
    assert "too many problems" in lines[-1]


def test_a_missing_file_a_device_and_an_empty_directory_are_told_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").mkdir()
    paths = [tmp_path / "missing", tmp_path / "pipe", tmp_path / "empty", tmp_path / "\0"]
    missing, pipe, empty, nul = problems_of(paths)
    assert "missing:1:1: rule file: it cannot be read (No such file or directory)" in missing
    assert "no regular file" in pipe
    assert "no file in it ends in .yaml" in empty
    assert "\\x00:1:1: rule file: it cannot be read" in nul


def test_an_unreadable_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, flags: int) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path, flags)

    monkeypatch.setattr("nfsnitch.adapters.rulefile.files.os.open", refuse)
    (line,) = problems_of([tmp_path / "secret.yaml"])
    assert "it cannot be read (Permission denied)" in line
