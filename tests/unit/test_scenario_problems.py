"""What is wrong with scenario files, told with its place."""

from __future__ import annotations

import pytest

from scenario_text import EXPECT, LEAST, told, told_of_step


@pytest.mark.parametrize(
    ("head", "place", "what", "instead"),
    [
        ("neeeds: [sctp]\n", "1:1", "unknown key 'neeeds'", "did you mean 'needs'?"),
        ("needs: [scpt]\n", "1:9", "no such need", "did you mean 'sctp'?"),
        ("needs: sctp\n", "1:8", "a list, not a single value", "write - before"),
        ("fresh: yes\n", "1:8", "fresh 'yes'", "true or false"),
        ("options: [{a: b}]\n", "1:11", "not a mapping", "write one value"),
        ("options: [$god]\n", "1:11", "no program and no file 'god'", "write $folder"),
        ("lets_by: [bypased]\n", "1:11", "no such counter", "did you mean 'bypassed'?"),
        ("programs: {Good: curl}\n", "1:12", "program 'Good'", "write as in first-one"),
        ("programs: {folder: curl}\n", "1:12", "$folder is", "another name"),
        ("programs: {good: ''}\n", "1:18", "it is empty", "write something"),
        ("programs: {good: [curl]}\n", "1:18", "not a list", "binary or path"),
        ("programs: {good: {path: a}}\n", "1:18", "no binary", "write binary:"),
        ("programs: {good: {binary: a, path: ../a}}\n", "1:36", "below", "opt/odd/agent"),
        ("programs: {good: {binary: a, path: /a}}\n", "1:36", "below", "opt/odd/agent"),
        (
            "programs: {a: curl, b: {binary: curl, path: a/b}}\n",
            "1:11",
            "program a is there",
            "another path",
        ),
        ("files: {../x: a}\n", "1:9", "file '../x'", "block.list"),
        ("files: {folder: a}\n", "1:9", "$folder is something else", "another name"),
        ("files: {a.txt: $b}\n", "1:8", "file a.txt: there is no program", "$a.txt or $folder"),
        ("network: {hosts: {Other: {}}}\n", "1:19", "host 'Other'", "as in other"),
        ("network: {hosts: {other: {}}}\n", "1:26", "no wire ends there", "write a wire"),
        ("network: {hosts: {client: []}}\n", "1:27", "not a list", "addresses, routes"),
        ("network: {hosts: {client: {mtu: 3}}}\n", "1:28", "unknown key 'mtu'", "remove it"),
        (
            "network: {hosts: {client: {services: [ehco]}}}\n",
            "1:39",
            "no such service",
            "did you mean 'echo'?",
        ),
        (
            "network: {hosts: {client: {addresses: {eth0: [192.0.2.9]}}}}\n",
            "1:47",
            "with its network's length",
            "192.0.2.9/24",
        ),
        (
            "network: {hosts: {client: {addresses: {eth5: [192.0.2.9/24]}}}}\n",
            "1:39",
            "interface 'eth5' of client",
            "an interface that it has",
        ),
        (
            "network: {hosts: {client: {routes: [{to: here, via: 192.0.2.1}]}}}\n",
            "1:42",
            "no network",
            "10.0.0.0/8",
        ),
        (
            "network: {hosts: {client: {routes: [{to: 10.0.0.0/8, via: '::1'}]}}}\n",
            "1:37",
            "of the other family",
            "both as IPv4 or IPv6",
        ),
        (
            "network: {hosts: {client: {routes: [{to: default}]}}}\n",
            "1:37",
            "it has no via",
            "write via:",
        ),
        (
            "network: {hosts: {client: {sysctls: {kernel.panic: 1}}}}\n",
            "1:38",
            "only those of the network",
            "net.ipv4",
        ),
        (
            "network: {hosts: {router: {masquerades: eth7}}}\n",
            "1:27",
            "router has no such interface",
            "eth0, eth1",
        ),
        ("network: {wires: {side: {mtu: 1500}}}\n", "1:25", "it has no ends", "write ends:"),
        ("network: {wires: {access: {mtu: 12}}}\n", "1:33", "from 68 to 65535", "write one"),
        ("network: {wires: {access: {delay: 20}}}\n", "1:35", "ms, s, m or h", "20ms"),
        ("network: {wires: {access: {loss: 101}}}\n", "1:34", "from 0 to 100", "0.5"),
        ("network: {wires: {access: {vlan: 0}}}\n", "1:34", "from 1 to 4094", "write one"),
        (
            "network: {wires: {side: {ends: {client: {eth1: []}}}}}\n",
            "1:32",
            "a wire has two ends",
            "server",
        ),
        (
            "network: {wires: {side: {ends: {client: {eth1: []}, sever: {eth1: []}}}}}\n",
            "1:53",
            "no such host",
            "did you mean 'server'?",
        ),
        (
            "network: {wires: {side: {ends: {client: {eth0: []}, server: {eth1: []}}}}}\n",
            "1:18",
            "wire 'access' ends there already",
            "another interface",
        ),
    ],
)
def test_what_is_wrong_at_the_top_is_told_with_its_place(
    head: str, place: str, what: str, instead: str
) -> None:
    [line] = told(head + LEAST + EXPECT)

    assert line.startswith(f"test.yaml:{place}: ")
    assert what in line
    assert instead in line


@pytest.mark.parametrize(
    ("text", "what", "instead"),
    [
        ("runn: {program: curl}", "step 'runn'", "did you mean 'run'?"),
        ("{run: {program: a}, clock: +1s}", "it has one key", "as in - run:"),
        ("run", "it has one key", "as in - run:"),
        ("run: {}", "it has no program", "write program:"),
        ("run: {program: $god}", "no program and no file 'god'", "did you mean 'good'?"),
        ("run: {program: curl, args: [$god]}", "no file 'god'", "did you mean 'good'?"),
        ("run: {program: curl, arg: [a]}", "unknown key 'arg'", "did you mean 'args'?"),
        ("run: {program: curl, on: sever}", "no such host", "did you mean 'server'?"),
        ("run: {program: curl, uid: root}", "a whole number", "decimal"),
        ("run: {program: curl, within: 5}", "ms, s, m or h", "5s"),
        ("run: {program: curl, within: 25h}", "longer than a day", "shorter"),
        ("run: {program: curl, cgroup: ../a}", "below the cgroup", "browser"),
        ("run: {program: curl, as: A}", "a name has", "first-one"),
        ("run: {program: curl, stdin: $god}", "no file 'god'", "good"),
        ("send: {}", "one of packet and packets", "packet:"),
        ("send: {packets: []}", "there is none", "one or more"),
        ("send: {packet: {}}", "neither layers nor bytes", "UDP"),
        ("send: {packet: {IPv5: {}}}", "layer 'IPv5': there is no such layer", "did you mean"),
        ("send: {packet: {udp: {}}}", "layer 'udp': there is no such layer", "'UDP'?"),
        ("send: {packet: {IP: {ds: 192.0.2.1}}}", "field 'ds' of IP", "did you mean 'dst'?"),
        ("send: {packet: {IP: {dst: server}}}", "IP.dst 'server'", "192.0.2.1"),
        ("send: {packet: {IP: [dst]}}", "not a list", "write {}"),
        ("send: {packet: {IP: {}}}", "IP says nothing of its dst", "otherwise"),
        ("send: {packet: {hex: 450}}", "no hexadecimal", "two digits"),
        ("send: {packet: {framgent: 8, UDP: {}}}", "no such layer", "did you mean 'fragment'?"),
        ("send: {packet: {UDP: {}, fragment: 8}}", "only IP packets have", "otherwise"),
        ("send: {packet: {UDP: {}, order: [1]}}", "no fragment 1", "otherwise"),
        ("send: {packet: {UDP: {}, fragment: 7}}", "from 8 to 65535", "write one"),
        ("send: {packet: {UDP: {}}, frame: eth0}", "frames come from", "from: router"),
        ("send: {from: router, packet: {UDP: {}}, frame: eth7}", "no such interface", "'eth1'?"),
        (
            "send: {from: router, packets: [{UDP: {}}, {Ether: {}}]}",
            "frames and IP packets",
            "two steps",
        ),
        ("send: {packet: {UDP: {}}, program: curl}", "one of programs", "python"),
        ("send: {packet: {UDP: {}}, program: $good}", "a copy of curl", "python"),
        ("send: {from: server, packet: {UDP: {}}, program: $odd}", "on the client", "from: client"),
        ("send: {packet: {UDP: {}}, count: 0}", "from 1 to", "write one"),
        (
            "send: {packet: {IP: {dst: 192.0.2.2}, ICMP: {}, IPerror: {src: 192.0.2.2}}}",
            "it has no dst",
            "both addresses",
        ),
        ("answer: {question: {dprt: 80}}", "no such field", "did you mean 'dport'?"),
        ("answer: {question: {}}", "it says nothing", "dport"),
        ("answer: {question: {dport: 80}, action: alow}", "action 'alow'", "'allow'?"),
        ("answer: {question: {dport: 80}, who: me}", "who 'me'", "write program, unit"),
        ("rules: {refused: true}", "it has no text", "write text:"),
        ("rules: [a]", "not a list", "text or refused"),
        ("rules: ''", "it is empty", "write something"),
        ("firewall: kil", "firewall 'kil'", "did you mean 'kill'?"),
        ("command: {argv: []}", "it is empty", "program's name"),
        ("command: {on: client}", "it has no argv", "write argv:"),
        ("clock: +1h", "a machine of its own", "needs: [own-machine]"),
        ("expect: [record]", "a mapping, not a list", "record:"),
        ("expect: {recrod: {dport: 80}}", "it has one of", "did you mean 'record'?"),
        ("expect: {record: {dport: 1}, counter: held}", "it has one of", "as in"),
        ("expect: {record: {dprt: 80}}", "field of record 'dprt'", "did you mean 'dport'?"),
        ("expect: {record: {exe: $god}}", "no program and no file 'god'", "'good'?"),
        ("expect: {record: {pid: 5..3}}", "nothing lies in it", "lesser number first"),
        ("expect: {record: {dport: 1}, count: many}", "a range of numbers", "'>= 3'"),
        ("expect: {record: {dport: 1}, count: <= -1}", "nothing comes", "0 or more"),
        ("expect: {no_record: {dport: 1}, count: 1}", "unknown key 'count'", "remove it"),
        ("expect: {record: {dport: 1}, at: client}", "unknown key 'at'", "remove it"),
        ("expect: {arrived: {}}", "any packet is like it", "UDP"),
        ("expect: {arrived: {UDP: {dport: http}}}", "UDP.dport 'http'", "write one"),
        ("expect: {arrived: {TCP: {flags: ~X}}}", "no flag 'X'", "FSRPAUEC"),
        ("expect: {arrived: {IP: {src: 192.0.2.1/24}}}", "an address or a network", "/24"),
        ("expect: {arrived: {DNS: {qd: {DNSQR: {}}}}}", "list of layers", "beside this one"),
        ("expect: {arrived: {UDP: {}}, at: sever}", "no such host", "'server'?"),
        ("expect: {arrived: {UDP: {}}, interface: eth7}", "no such interface", "eth0"),
        ("expect: {counter: hold}", "no such counter", "did you mean 'held'?"),
        ("expect: {end: first}", "started by an earlier step", "there is no"),
    ],
)
def test_what_is_wrong_with_a_step_is_told(text: str, what: str, instead: str) -> None:
    line = told_of_step(text, "programs: {good: curl, odd: python}\n")

    assert line.startswith("test.yaml:7:")
    assert what in line
    assert instead in line


def test_an_end_is_expected_of_one_program_only() -> None:
    twice = "  - run: {program: curl}\n" * 2
    [line] = told(f"{LEAST}{twice}  - expect: {{end: curl}}\n")
    assert line.startswith("test.yaml:8:19: end 'curl': several steps have started one; give each")

    [line] = told(f"{LEAST}{EXPECT}" + "  - run: {program: curl, as: a}\n" * 2)
    assert line.startswith("test.yaml:8:30: as 'a': an earlier step has that name")


def test_a_scenario_that_cannot_fail_is_refused() -> None:
    [line] = told(f"{LEAST}  - run: {{program: curl}}\n")
    assert "it expects nothing, and so cannot fail" in line


def test_a_scenario_says_what_it_shows_in_one_sentence() -> None:
    [line] = told(LEAST.replace("Nothing goes out.", '"a\\nb"') + EXPECT)
    assert line.startswith("test.yaml:1:8: shows 'a\\x0ab': it is one sentence")
    assert len(told("network: {}\n")) == 3


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "test.yaml:1:1: no scenario: an empty file may be a lost one; write at least: shows:"),
        ("[]", "test.yaml:1:1: scenario: it is a mapping, not a list"),
        ("a: [", "this is not YAML"),
        (f"{LEAST}{EXPECT}---\n{LEAST}", "another document: a scenario file has one"),
        ("shows: a\x85", "test.yaml:1:9: character U+0085: control characters hide"),
        ('shows: "\\x1b"', "U+001B in a value: what a scenario says must be seen; write"),
        ("shows: !!str a", "tag"),
    ],
)
def test_what_is_no_scenario_at_all_is_told(text: str, what: str) -> None:
    assert any(what in line for line in told(text))


def test_everything_that_is_wrong_with_a_file_is_told_at_once_in_its_order() -> None:
    lines = told(
        "needs: [scpt]\n"
        f"{LEAST}"
        "  - run: {program: $no, uid: x}\n"
        "  - send: {packet: {IP: {dst: here}, UDP: {dport: 99999}}}\n"
        "  - expect: {arrived: {TCP: {flags: Y}}, at: nowhere}\n"
    )

    places = [line.split(": ")[0] for line in lines]
    assert places == [
        f"test.yaml:{place}" for place in ("1:9", "7:20", "7:30", "8:31", "8:51", "9:37", "9:46")
    ]
