"""Names of hosts end to end: real programs, a real DNS server, and rules that go by names."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import pytest

from builders import WriteRules
from nfsnitch.core.record import Json
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.process import Finished
from nfsnitch.lab.resolving import RESOLVER, resolving
from nfsnitch.lab.services import HTTP_PORT, WELCOME
from nfsnitch.lab.world import World

pytestmark = [
    pytest.mark.root,
    pytest.mark.netns,
    pytest.mark.bpf,
    pytest.mark.usefixtures("all_services"),
]

CURL = ("curl", "--silent", "--show-error", "--max-time", "10")
WGET = ("wget", "--quiet", "--tries=1", "--timeout=10", "--output-document=-")
PYTHON = ("/usr/bin/python3", "-I", "-c")
ASK_FIRST = """
default: reject
unattributed: deny
rules:
  - {name: questions, action: allow, dport: 53}
"""
FETCH = """
import sys, urllib.request
print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode(), end="")
"""
# Looks for as many names as it is told, all of one address, and connects to each at once.
MANY = """
import socket, sys
count, family = int(sys.argv[1]), int(sys.argv[2])
for number in range(count):
    name = f"n{number}.example.test"
    info = socket.getaddrinfo(name, 80, family, socket.SOCK_STREAM)
    with socket.socket(info[0][0], socket.SOCK_STREAM) as sock:
        sock.settimeout(10)
        sock.connect(info[0][4])
        print(name, sock.getsockname()[1], flush=True)
"""


def run(
    world: World, argv: Sequence[str], resolver: str = RESOLVER, timeout_s: float = 20
) -> Finished:
    """Run a program that finds its names by the lab's server."""
    return world.run(resolving(world, argv, resolver), timeout_s=timeout_s)


def http_record(firewall: Firewall, done: Finished) -> Json:
    """Return what was recorded of a program's connection to the web server."""
    return firewall.wait_for_record(having(pid=done.pid, dport=HTTP_PORT))


@pytest.mark.vm_guest
def test_two_programs_reach_one_address_by_two_names_and_one_of_them_is_refused(
    world: World, rules: WriteRules
) -> None:
    path = rules(
        ASK_FIRST + "  - {name: not a, action: reject, host: a.example.test}\n"
        "  - {name: b, action: allow, host: b.example.test}\n"
    )
    with Firewall(world, [path]) as firewall:
        for tool in (CURL, WGET, (*PYTHON, FETCH)):
            refused = run(world, (*tool, "http://a.example.test/"))
            allowed = run(world, (*tool, "http://b.example.test/"))
            assert refused.returncode != 0
            assert (allowed.returncode, allowed.stdout) == (0, WELCOME), allowed.stderr
            records = [http_record(firewall, each) for each in (refused, allowed)]
            assert [(each["rule"], each["host"]) for each in records] == [
                ("not a", "a.example.test"),
                ("b", "b.example.test"),
            ]
            assert records[0]["daddr"] == records[1]["daddr"]


@pytest.mark.parametrize(
    ("libc", "family", "resolver"),
    [
        ("false", 2, RESOLVER),
        ("false", 10, "2001:db8::1"),
        pytest.param("true", 2, RESOLVER, marks=pytest.mark.vm_guest(modes=("lsm",))),
    ],
)
def test_the_name_is_known_before_the_connection_a_thousand_times_of_a_thousand(
    world: World, rules: WriteRules, libc: str, family: int, resolver: str
) -> None:
    path = rules(
        f"names: {{first_data: false, libc: {libc}}}\n"
        + ASK_FIRST
        + "  - {name: by name, action: allow, host: '*.example.test', on_unknown_name: reject}\n"
    )
    with Firewall(world, [path]) as firewall:
        done = run(world, (*PYTHON, MANY, "1000", str(family)), resolver, timeout_s=60)
        assert done.returncode == 0, done.stderr
        names = {int(port): name for name, port in map(str.split, done.stdout.splitlines())}
        records = firewall.wait_for_records(having(pid=done.pid, dport=HTTP_PORT), 1_000)
        # All of them have one address, and so the latest comes first of several.
        assert {each["sport"]: each["names"][0]["name"] for each in records} == names
        assert {each["rule"] for each in records} == {"by name"}


@pytest.mark.vm_guest(modes=("lsm",))
def test_a_name_says_where_it_came_from(world: World, rules: WriteRules) -> None:
    path = rules("names: {libc: false}\ndefault: allow\nrules: []\n")
    with Firewall(world, [path]) as firewall:
        done = run(world, (*CURL, "http://a.example.test/"))
        (name,) = http_record(firewall, done)["names"]
        assert name["name"] == "a.example.test"
        assert (name["source"], name["own"], name["resolver"]) == ("dns", True, RESOLVER)


def test_a_name_that_another_program_has_asked_for_counts_and_says_so(
    world: World, rules: WriteRules
) -> None:
    path = rules("default: allow\nrules: []\n")
    with Firewall(world, [path]) as firewall:
        for options in ((), ("+tcp",)):
            dig = ("dig", f"@{RESOLVER}", "+short", *options, "a.example.test")
            assert RESOLVER in world.run(dig).stdout
        record = http_record(firewall, world.run((*CURL, f"http://{RESOLVER}/")))
        assert record["host"] == "a.example.test"
        assert [each["own"] for each in record["names"]] == [False]


def test_an_address_of_two_names_is_ambiguous(world: World, rules: WriteRules) -> None:
    path = rules(
        ASK_FIRST + "  - {name: a, action: allow, host: a.example.test, on_unknown_name: deny}\n"
    )
    with Firewall(world, [path]) as firewall:
        for name in ("a.example.test", "b.example.test"):
            world.run(("dig", f"@{RESOLVER}", "+short", name))
        done = world.run(("curl", "--silent", "--max-time", "1", f"http://{RESOLVER}/"))
        record = http_record(firewall, done)
        assert (record["rule"], record["reason"]) == ("a", "unnamed")
        assert record["host"] == {"ambiguous": ["b.example.test", "a.example.test"]}


def test_what_is_known_is_listed_for_people_and_programs(world: World, rules: WriteRules) -> None:
    path = rules("default: allow\nrules: []\n")
    with Firewall(world, [path]) as firewall:
        done = run(world, (*CURL, "http://a.example.test/"))
        http_record(firewall, done)
        command = (sys.executable, "-m", "nfsnitch.cli", "names")
        shown = world.run(command)
        assert "a.example.test" in shown.stdout, shown.stderr
        assert RESOLVER in shown.stdout
        listed = list(map(json.loads, world.run((*command, "--json")).stdout.splitlines()))
        # What other programs of this machine ask their C library for is seen, too.
        by_it = {each["name"] for each in listed if each["pid"] == done.pid}
        assert by_it == {"a.example.test"}
