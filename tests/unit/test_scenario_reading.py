"""Scenario files: what they are read as, and what bad ones are told."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control_play import a_record
from nfsnitch.adapters.rulefile.files import MAX_FILE_BYTES, Source
from nfsnitch.adapters.rulefile.problems import Problem, Refused, RuleFileError
from nfsnitch.core.owner import Kernel
from nfsnitch.lab.scenario import model
from nfsnitch.lab.scenario import reading_values as values
from nfsnitch.lab.scenario.model import Range, Side
from nfsnitch.lab.scenario.reading import load, load_text, substituted
from nfsnitch.lab.scenario.reading_expectations import RECORD_FIELDS
from nfsnitch.lab.scenario.reading_network import interfaces
from nfsnitch.lab.scenario.standard import STANDARD

LEAST = """\
shows: Nothing goes out.
rules: |
  version: 1
  rules: []
steps:
"""
SENT = "  - send: {packet: {IP: {dst: 198.51.100.2}, UDP: {dport: 9}}}\n"
EXPECT = "  - expect: {no_record: {dport: 80}}\n"


def read(text: str) -> model.Scenario:
    return load_text(Source(0, "test.yaml", text))


def with_head(head: str) -> model.Scenario:
    return read(head + LEAST + EXPECT)


def step(text: str, head: str = "") -> Any:  # noqa: ANN401  one of many classes
    return read(f"{head}{LEAST}  - {text}\n{EXPECT}").steps[0]


def told(text: str) -> list[str]:
    with pytest.raises(RuleFileError) as caught:
        read(text)
    return str(caught.value).splitlines()


def told_of_step(text: str, head: str = "") -> str:
    [line] = told(f"{head}{LEAST}  - {text}\n{EXPECT}")
    return line


def test_the_least_scenario_has_the_standard_network_and_nothing_else() -> None:
    scenario = read(LEAST + EXPECT)

    assert scenario.file == "test.yaml"
    assert scenario.shows == "Nothing goes out."
    assert scenario.network == STANDARD
    assert scenario.rules == "version: 1\nrules: []\n"
    assert (scenario.programs, scenario.files, scenario.needs) == ((), {}, ())
    assert (scenario.options, scenario.fresh, scenario.lets_by) == ((), False, ())
    [expected] = scenario.steps
    assert isinstance(expected, model.ExpectRecord)
    assert (expected.fields, expected.count) == ({"dport": "80"}, values.NONE)
    assert str(expected.position) == "test.yaml:6:5"


def test_a_file_is_read_and_one_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(LEAST + EXPECT)

    assert load(tmp_path / "a.yaml").file == str(tmp_path / "a.yaml")
    for path, why in (("b.yaml", "cannot be read"), (".", "Is a directory")):
        with pytest.raises(RuleFileError, match=f"scenario file: it.*{why}"):
            load(tmp_path / path)


def test_scapy_is_imported_by_the_first_packet_and_not_before() -> None:
    there = "any(name.startswith('scapy') for name in sys.modules)"
    asked = (
        "import sys\n"
        "from nfsnitch.adapters.rulefile.files import Source\n"
        "from nfsnitch.lab.scenario import packets, reading\n"
        f"reading.load_text(Source(0, 'a', {LEAST + EXPECT!r}))\n"
        f"print({there})\n"
        f"reading.load_text(Source(0, 'a', {LEAST + SENT + EXPECT!r}))\n"
        f"print({there})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", asked], check=True, capture_output=True, text=True, timeout=60
    )

    assert done.stdout.split() == ["False", "True"]


def test_a_file_that_is_no_text_or_too_large_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"shows: \xff\n")
    (tmp_path / "b.yaml").write_bytes(b"#" * (MAX_FILE_BYTES + 1))

    with pytest.raises(RuleFileError, match=r"a\.yaml:1:8: scenario file: byte ff is not UTF-8"):
        load(tmp_path / "a.yaml")
    with pytest.raises(RuleFileError, match="more than 16 MiB"):
        load(tmp_path / "b.yaml")


def test_what_stands_at_the_top_of_a_file_is_read() -> None:
    scenario = with_head(
        "needs: [sctp, probes]\n"
        "fresh: true\n"
        'options: [--queue, "7", $folder/x]\n'
        "lets_by: [bypassed]\n"
        "programs: {good: curl, odd: {binary: python, path: opt/odd/agent}}\n"
        "files: {block.list: 'tracker.example'}\n"
    )

    assert scenario.needs == ("sctp", "probes")
    assert scenario.fresh
    assert scenario.options == ("--queue", "7", "$folder/x")
    assert scenario.lets_by == ("bypassed",)
    assert scenario.programs == (
        model.Program("good", "curl"),
        model.Program("odd", "python", "opt/odd/agent"),
    )
    assert scenario.files == {"block.list": "tracker.example"}


def test_the_network_is_changed_by_the_names_of_its_parts() -> None:
    network = with_head(
        "network:\n"
        "  wires:\n"
        "    access: {mtu: 1280, delay: 20ms, loss: 0.5, vlan: 7}\n"
        "    side: {ends: {client: {eth1: [10.9.0.2/24]}, other: {eth0: [10.9.0.1/24]}}}\n"
        "  hosts:\n"
        "    client:\n"
        "      addresses: {eth0: [192.0.2.9/24]}\n"
        "      routes: [{to: default, via: 10.9.0.1}, {to: 10.0.0.0/8, via: 192.0.2.1}]\n"
        "      sysctls: {net.ipv4.ip_local_port_range: 40000 40001}\n"
        "    router: {forwards: false, masquerades: eth1}\n"
        "    other: {services: [echo, echo]}\n"
        "    server: {services: []}\n"
    ).network

    access, backbone, side = network.wires
    assert (access.mtu, access.delay_ns, access.loss, access.vlan) == (1280, 20_000_000, 0.5, 7)
    assert access.ends[0] == model.Interface("client", "eth0", ("192.0.2.9/24",))
    assert access.ends[1] == STANDARD.wires[0].ends[1]
    assert backbone == STANDARD.wires[1]
    assert side.ends[1] == model.Interface("other", "eth0", ("10.9.0.1/24",))
    client, router, server, other = network.hosts
    assert client.routes == (
        model.Route("default", "10.9.0.1"),
        model.Route("default", "2001:db8::1"),
        model.Route("10.0.0.0/8", "192.0.2.1"),
    )
    assert client.sysctls == {"net.ipv4.ip_local_port_range": "40000 40001"}
    assert (router.forwards, router.masquerades) == (False, "eth1")
    assert (server.services, other.services) == ((), ("echo",))
    assert interfaces(network)["client"] == ("eth0", "eth0.7", "eth1")


def test_a_program_is_started_as_it_is_written() -> None:
    run = step(
        "run: {program: $good, args: [-s, $block.list], as: first, uid: 1000, gid: 0x10,"
        ' cgroup: browser/tab, parents: [sh, $good], background: true, within: 1.5s, stdin: "a\\n",'
        " on: router}",
        "programs: {good: curl}\nfiles: {block.list: a}\n",
    )

    assert run == model.Run(
        run.position,
        "$good",
        ("-s", "$block.list"),
        name="first",
        host="router",
        uid=1000,
        gid=16,
        cgroup="browser/tab",
        parents=("sh", "$good"),
        stdin="a\n",
        background=True,
        within_ns=1_500_000_000,
    )
    assert str(run.position) == "test.yaml:8:5"


@pytest.mark.parametrize(
    ("program", "name"), [("$good", "good"), ("/usr/bin/curl", "curl"), ("curl", "curl")]
)
def test_a_program_that_is_started_is_called_by_its_own_name(program: str, name: str) -> None:
    run = step(f"run: {{program: {program}}}", "programs: {good: curl}\n")

    assert run.name == name
    assert (run.host, run.uid, run.background, run.within_ns) == ("client", None, False, 20 * 10**9)


def test_packets_are_sent_as_they_are_written() -> None:
    send = step(
        "send: {from: client, program: $odd, as: probe, count: 3, every: 10ms, within: 1m,"
        " packet: {IP: {dst: 198.51.100.2}, UDP: {sport: 53, dport: 9}, Raw: {load: hello}}}",
        "programs: {odd: python}\n",
    )

    [packet] = send.packets
    assert packet.layers == (
        ("IP", {"dst": "198.51.100.2"}),
        ("UDP", {"sport": 53, "dport": 9}),
        ("Raw", {"load": b"hello"}),
    )
    assert (send.host, send.side, send.program, send.name) == ("client", Side.IP, "$odd", "probe")
    assert (send.count, send.every_ns, send.within_ns) == (3, 10**7, 60 * 10**9)


def test_frames_get_an_ethernet_header_unless_they_are_bytes() -> None:
    send = step(
        "send: {from: router, frame: eth0, packets: [{Ether: {}, IP: {dst: 192.0.2.2}},"
        " {IP: {dst: 192.0.2.2}}, {hex: 4500 0014}, {hex: 4500, IP: {dst: 192.0.2.2}}]}"
    )

    assert (send.side, send.interface) == (Side.FRAME, "eth0")
    assert [[name for name, _ in each.layers] for each in send.packets] == [
        ["Ether", "IP"],
        ["Ether", "IP"],
        [],
        ["IP"],
    ]
    assert [each.prefix for each in send.packets] == [b"", b"", b"\x45\0\0\x14", b"\x45\0"]


def test_a_packet_that_begins_as_a_frame_is_one() -> None:
    send = step("send: {from: server, packet: {ARP: {pdst: 198.51.100.1}}}")

    assert send.side is Side.FRAME
    assert [name for name, _ in send.packets[0].layers] == ["Ether", "ARP"]


def test_fragments_order_and_length_stand_beside_the_layers_or_for_all_packets() -> None:
    udp = f"IP: {{dst: 198.51.100.2}}, UDP: {{}}, Raw: {{load: {'x' * 60}}}"
    send = step(
        f"send: {{packets: [{{{udp}}}, {{{udp}, fragment: 32, order: [0]}}],"
        " fragment: 24, order: [2, 0], truncate: 30}"
    )

    one, other = send.packets
    assert (one.fragment_bytes, one.order, one.truncate_bytes) == (24, (2, 0), 30)
    assert (other.fragment_bytes, other.order, other.truncate_bytes) == (32, (0,), 30)


def test_a_layer_that_comes_twice_stands_in_a_list() -> None:
    [packet] = step(
        "send: {packet: [{IP: {dst: 198.51.100.2}, GRE: {}}, {IP: {dst: 203.0.113.1}}, {UDP: {}}]}"
    ).packets

    assert [name for name, _ in packet.layers] == ["IP", "GRE", "IP", "UDP"]


def test_layers_in_fields_are_read_one_by_one_or_in_a_list() -> None:
    [packet] = step(
        "send: {packet: {IP: {dst: 198.51.100.2, options: [{IPOption_NOP: {}}, {IPOption_NOP: }]},"
        " UDP: {dport: 53}, DNS: {qd: {DNSQR: {qname: example.test, qtype: AAAA}}}}}"
    ).packets

    fields = dict(packet.layers)
    assert fields["IP"]["options"] == (("IPOption_NOP", {}), ("IPOption_NOP", {}))
    assert fields["DNS"]["qd"] == (("DNSQR", {"qname": b"example.test", "qtype": 28}),)


def test_questions_rules_and_the_daemon_are_dealt_with_by_steps() -> None:
    answer = step(
        "answer: {question: {dport: 80}, action: deny, who: user, where: host-port,"
        " duration: 5m, within: 2s}"
    )
    assert answer == model.Answer(
        answer.position,
        {"dport": "80"},
        action="deny",
        who="user",
        where="host-port",
        duration="5m",
        within_ns=2 * 10**9,
    )
    assert step('rules: "rules: []"').text == "rules: []"
    wrong = step('rules: {text: "rulez: []", refused: true}')
    assert (wrong.text, wrong.is_refused) == ("rulez: []", True)
    assert step("firewall: kill").deed is model.FirewallDeed.KILL
    command = step("command: {on: router, argv: [conntrack, -F], status: 1}")
    assert command == model.Command(command.position, "router", ("conntrack", "-F"), 1)
    jump = step("clock: -90s", "needs: [own-machine]\n")
    assert jump.by_ns == -90 * 10**9


def test_what_is_expected_of_records_has_ranges_texts_lists_and_what_is_unknown() -> None:
    expected = step(
        "expect: {record: {verdict: allow, exe: $good, dport: 80, held_ms: '>= 0', pid: 3..5,"
        " args: ['a', '*'], host: {unknown: '*'}, parents.0.exe: '*/sh'}, count: 1, within: 5s}",
        "programs: {good: curl}\n",
    )

    assert expected.fields == {
        "verdict": "allow",
        "exe": "$good",
        "dport": "80",
        "held_ms": Range(0, math.inf, ">= 0"),
        "pid": Range(3, 5, "3..5"),
        "args": ["a", "*"],
        "host": {"unknown": "*"},
        "parents.0.exe": "*/sh",
    }
    assert (expected.count, expected.within_ns) == (Range(1, 1, "1"), 5 * 10**9)


def test_each_field_of_a_record_can_be_expected() -> None:
    record = a_record(1)

    assert set(record.as_json()) <= set(RECORD_FIELDS)
    assert set(record._replace(owner=Kernel("test")).as_json()) <= set(RECORD_FIELDS)


@pytest.mark.parametrize(
    ("text", "host", "sent", "count"),
    [
        ("{arrived: {UDP: {dport: 9}}}", "server", False, values.ANY_NUMBER),
        ("{arrived: {UDP: {dport: 9}}, at: client, count: 3}", "client", False, Range(3, 3, "3")),
        ("{nothing_arrived: {UDP: {dport: 9}}, at: router}", "router", False, values.NONE),
        ("{sent: {UDP: {dport: 9}}, interface: eth0}", "client", True, values.ANY_NUMBER),
        ("{nothing_sent: {UDP: {dport: 9}}}", "client", True, values.NONE),
    ],
)
def test_packets_are_expected_to_arrive_or_to_be_sent_or_not(
    text: str,
    host: str,
    sent: bool,  # noqa: FBT001  a parameter of the test
    count: Range,
) -> None:
    expected = step(f"expect: {text}")

    assert isinstance(expected, model.ExpectArrived)
    assert (expected.host, expected.sent, expected.count) == (host, sent, count)
    assert expected.interface == ("eth0" if "interface" in text else None)
    assert expected.packet == {"UDP": {"dport": Range(9, 9, "9")}}


def test_fields_of_packets_are_expected_as_they_are_compared() -> None:
    expected = step(
        "expect: {arrived: {Ether: {dst: 02:00:00:00:00:0A}, IP: {src: 192.0.2.0/24, proto: tcp,"
        " ttl: 60..64, id: 0x10}, TCP: {flags: ~R, dport: <= 1024}, Raw: {load: 'hex:00ff'}}}"
    )

    assert expected.packet == {
        "Ether": {"dst": "02:00:00:00:00:0a"},
        "IP": {
            "src": "192.0.2.0/24",
            "proto": Range(6, 6, "tcp"),
            "ttl": Range(60, 64, "60..64"),
            "id": Range(16, 16, "0x10"),
        },
        "TCP": {"flags": "~R", "dport": Range(-math.inf, 1024, "<= 1024")},
        "Raw": {"load": b"\x00\xff"},
    }


def test_counters_and_ends_of_programs_are_expected() -> None:
    counter = step("expect: {counter: rejected, count: '>= 1'}")
    assert (counter.name, counter.count) == ("rejected", Range(1, math.inf, ">= 1"))
    assert step("expect: {counter: judged}").count == values.ANY_NUMBER
    ended = read(
        f"{LEAST}  - run: {{program: curl, as: first}}\n"
        "  - expect: {end: first, status: 0, stdout: hello, stderr: no}\n"
    ).steps[1]
    assert ended == model.ExpectEnd(
        ended.position, "first", Range(0, 0, "0"), "hello", "no", 10 * 10**9
    )


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


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$good", "/p/good"),
        ("${good}er", "/p/gooder"),
        ("a $good, $block.list.", "a /p/good, /p/block.list."),
        ("$folder/x-$good-", "/p/x-/p/good-"),
        ("$$good costs 5$ or $5", "$good costs 5$ or $5"),
        ("^a$|b$", "^a$|b$"),
        ("", ""),
    ],
)
def test_names_are_replaced_by_their_places(text: str, result: str) -> None:
    places = {"good": "/p/good", "block.list": "/p/block.list", "folder": "/p"}

    assert substituted(text, places) == result


@pytest.mark.parametrize("text", ["$goood", "${god}", "$good.pem", "${}", "$block"])
def test_a_name_that_stands_for_nothing_is_not_replaced(text: str) -> None:
    with pytest.raises(Refused, match="there is no program and no file"):
        substituted(text, {"good": "/p/good", "block.list": "/p/b"})


@given(st.dictionaries(st.sampled_from(["a", "b", "c.d"]), st.text(max_size=5)), st.text())
def test_no_text_is_replaced_twice_or_breaks_the_replacing(
    places: dict[str, str], text: str
) -> None:
    doubled = text.replace("$", "$$")
    assert substituted(doubled, places) == text
    try:
        substituted(text, places)
    except Refused as refused:
        assert "no program and no file" in refused.why  # noqa: PT017  others are right as well


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("3", 3, 3),
        ("-3", -3, -3),
        ("0.5", 0.5, 0.5),
        (">= 3", 3, math.inf),
        (">=3", 3, math.inf),
        ("<= 3", -math.inf, 3),
        ("3..5", 3, 5),
        ("-5..-3", -5, -3),
    ],
)
def test_ranges_are_inclusive(text: str, least: float, most: float) -> None:
    found = values.range_of(text)

    assert (found.least, found.most, found.text) == (least, most, text)
    assert least in found
    assert most in found
    assert math.isinf(least) or least - 0.1 not in found
    assert math.isinf(most) or most + 0.1 not in found


@pytest.mark.parametrize("text", ["", "x", "> 3", "3..", "..3", "3...5", "1e9", "3 .. 5", "nan"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        values.range_of(text)


@pytest.mark.parametrize("text", ["> 0", "<5", ">-1.5"])
def test_greater_and_less_are_refused_where_a_text_could_be_meant(text: str) -> None:
    line = told_of_step(f"expect: {{record: {{held_ms: '{text}'}}}}")

    assert "held_ms: a range has its ends in it; write a number, '>= 3', '<= 3' or '3..5'" in line


@pytest.mark.parametrize("text", [">", "<unknown>", ">x 3", "> 3 <"])
def test_texts_with_such_signs_are_texts(text: str) -> None:
    assert values.value(text) == text


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [("1ms", 10**6), ("1.5s", 15 * 10**8), ("2m", 120 * 10**9), ("24h", values.MOST_NS)],
)
def test_times_have_a_unit(text: str, time_ns: int) -> None:
    assert values.duration_ns(text) == time_ns
    assert values.jump_ns(f"+{text}") == time_ns
    assert values.jump_ns(f"-{text}") == -time_ns
    with pytest.raises(Refused, match="forward or back"):
        values.jump_ns(text)


_words = st.sampled_from(
    [
        *("shows", "needs", "fresh", "options", "lets_by", "network", "programs", "files"),
        *("rules", "steps", "wires", "hosts", "access", "client", "server", "eth0", "ends"),
        *("addresses", "routes", "to", "via", "sysctls", "masquerades", "services", "echo"),
        *("run", "program", "args", "as", "send", "from", "frame", "packet", "packets", "hex"),
        *("fragment", "order", "truncate", "count", "every", "within", "answer", "question"),
        *("firewall", "kill", "command", "argv", "clock", "+1h", "expect", "record", "arrived"),
        *("counter", "held", "end", "status", "at", "dport", "verdict", "exe", "$good", "good"),
        *("Ether", "IP", "IPv6", "UDP", "TCP", "ICMP", "DNS", "Raw", "DHCP", "IPerror", "SCTP"),
        *("src", "dst", "flags", "options", "load", "qd", "type", "chksum", "len", "ihl", "plen"),
        *("192.0.2.1", "192.0.2.0/24", "::1", "SA", "~R", "hex:00ff", "45000014", "$nothing"),
        *("0", "1", "8", "53", "0x10", "-1", "65536", "99999999999999999999", "3..5", ">= 1"),
        *("5s", "20ms", "true", "*", "", "a\nb", "MSS", "AAAA", "own-machine", "sctp", "default"),
    ]
)
_nodes = st.recursive(
    _words | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_words, inner, max_size=5),
    max_leaves=25,
)


def _read_or_refused(text: str) -> None:
    """Read a text: a scenario, or problems with places that are in it."""
    scenario, problems = _outcome(text)
    assert isinstance(scenario, model.Scenario) != bool(problems)
    lines = text.split("\n")
    for problem in problems:
        assert 1 <= problem.position.line <= len(lines)
        assert 1 <= problem.position.column <= len(lines[problem.position.line - 1]) + 1
        assert all((problem.what, problem.why, problem.instead))
        assert str(problem).isprintable()


def _outcome(text: str) -> tuple[model.Scenario | None, tuple[Problem, ...]]:
    try:
        return read(text), ()
    except RuleFileError as error:
        return None, error.problems


fuzzed: Callable[..., Any] = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@fuzzed
@given(_nodes)
def test_any_tree_is_a_scenario_or_has_problems(tree: Any) -> None:  # noqa: ANN401  any JSON
    _read_or_refused(json.dumps(tree, ensure_ascii=False))


@fuzzed
@given(st.dictionaries(_words, _nodes, max_size=5))
def test_any_step_is_one_or_has_problems(tree: Any) -> None:  # noqa: ANN401  any JSON
    whole = {"shows": "a", "rules": "b", "steps": [tree, {"expect": {"record": {"dport": "1"}}}]}
    _read_or_refused(json.dumps(whole, ensure_ascii=False))


@fuzzed
@given(
    st.dictionaries(
        st.sampled_from(["Ether", "IP", "IPv6", "UDP", "TCP", "ICMP", "DNS", "Raw", "DHCP", "ARP"]),
        st.dictionaries(_words, _nodes, max_size=3),
        max_size=4,
    ),
    st.dictionaries(st.sampled_from(["fragment", "order", "truncate", "hex"]), _nodes, max_size=2),
)
def test_any_packet_is_built_or_has_problems(layers: Any, shape: Any) -> None:  # noqa: ANN401  any JSON
    packet = layers | shape
    steps = [{"send": {"packet": packet}}, {"expect": {"arrived": layers}}]
    _read_or_refused(json.dumps({"shows": "a", "rules": "b", "steps": steps}))


@fuzzed
@given(st.text(max_size=80) | st.text("{}[]:,- \n'\"&*!|>#%@`abc$", max_size=60))
def test_any_text_is_a_scenario_or_has_problems(text: str) -> None:
    _read_or_refused(text)


@fuzzed
@given(st.data())
def test_a_good_file_with_something_else_in_one_place_has_problems_or_none(data: Any) -> None:  # noqa: ANN401
    good = (
        "programs: {good: curl}\n"
        f"{LEAST}"
        "  - run: {program: $good, args: [-s], as: first, within: 5s}\n"
        "  - send: {packet: {IP: {dst: 198.51.100.2}, TCP: {flags: SA, options: [{MSS: 9}]}}}\n"
        "  - expect: {record: {verdict: allow, held_ms: '>= 0'}, count: 1}\n"
        "  - expect: {end: first, status: 0}\n"
    )
    at = data.draw(st.integers(0, len(good)))
    cut = data.draw(st.integers(0, 6))
    put = data.draw(_words | st.text(max_size=4))
    _read_or_refused(good[:at] + put + good[at + cut :])
