"""What scenario files say, read."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest

from control_play import a_record
from nfsnitch.adapters.rulefile.files import MAX_FILE_BYTES
from nfsnitch.adapters.rulefile.problems import RuleFileError
from nfsnitch.core.owner import Kernel
from nfsnitch.lab.scenario import model
from nfsnitch.lab.scenario import reading_values as values
from nfsnitch.lab.scenario.model import Range, Side
from nfsnitch.lab.scenario.reading import load
from nfsnitch.lab.scenario.reading_expectations import RECORD_FIELDS
from nfsnitch.lab.scenario.reading_network import interfaces
from nfsnitch.lab.scenario.standard import STANDARD
from scenario_text import EXPECT, LEAST, SENT, read, step, with_head


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
