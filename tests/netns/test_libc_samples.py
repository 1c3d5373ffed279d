"""What eBPF hears of the C library: names that went in, addresses that came out, and whose."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from builders import ip
from name_play import DNS_PORT, Listener, listener
from nfsnitch.adapters import netns
from nfsnitch.core.flow import packed_address
from nfsnitch.core.name_sample import DnsPacket, LibcAnswer
from nfsnitch.core.owner import Process
from nfsnitch.lab.waiting import FollowedFile

pytestmark = [
    pytest.mark.undisturbed,
    pytest.mark.root,
    pytest.mark.netns,
    pytest.mark.bpf,
    pytest.mark.vm_guest(modes=("lsm",)),
]

LOCALHOST = packed_address("127.0.0.1")
IPV4, IPV6 = "192.0.2.7", "2001:db8::7"
TIMEOUT_S = 60
IN_OWN_MOUNTS = 'mount --bind "$1" /etc/resolv.conf && shift && exec "$@"'


@pytest.fixture(name="heard", scope="module")
def fixture_heard() -> Iterator[Listener]:
    with listener() as found:
        if found.programs.libc_problem is not None:
            pytest.skip(found.programs.libc_problem)
        yield found


@pytest.fixture(name="resolver", scope="module")
def fixture_resolver(heard: Listener, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Have dnsmasq answer on loopback; yields a resolv.conf that leads there."""
    assert heard.programs.libc_problem is None
    for address in (
        "192.0.2.200/32",
        "2001:db8::200/128",
    ):  # who has none of a family asks for none
        ip(f"addr add {address} dev lo")
    folder = tmp_path_factory.mktemp("resolver")
    said = FollowedFile(folder / "said")
    argv = ["dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"]
    argv += ["--listen-address=127.0.0.1", "--bind-interfaces", f"--port={DNS_PORT}", "--user=root"]
    argv += [f"--address=/two.example/{each}" for each in (IPV4, IPV6)]
    argv += [f"--address=/many.example/192.0.2.{at}" for at in range(1, 25)]
    with (folder / "said").open("wb") as file:
        dnsmasq = subprocess.Popen(argv, stdout=file, stderr=file)
    try:
        lines = said.follow(timeout_s=TIMEOUT_S)
        assert any("dnsmasq: started" in line for line in lines)
        (folder / "resolv.conf").write_text("nameserver 127.0.0.1\n", "ascii")
        yield folder / "resolv.conf"
    finally:
        dnsmasq.kill()
        dnsmasq.wait()


def run(resolver: Path, *argv: str, status: int = 0) -> int:
    """Run a program that asks *resolver*; returns its process id."""
    command = ["unshare", "--mount", "sh", "-c", IN_OWN_MOUNTS, "sh", str(resolver), *argv]
    popen = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert popen.wait(TIMEOUT_S) == status
    return popen.pid


def python(call: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", f"import socket; socket.{call}")


def of(pid: int, heard: Listener) -> list[LibcAnswer]:
    return heard.answers(lambda each: isinstance(each.asker, Process) and each.asker.pid == pid)


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        (("getent", "ahosts", "two.example"), {IPV4, IPV6}),
        (("getent", "ahostsv4", "two.example"), {IPV4}),
        (("getent", "hosts", "two.example"), {IPV6}),
        (python("getaddrinfo('two.example', 443)"), {IPV4, IPV6}),
        (python("getaddrinfo('Two.Example', 443, socket.AF_INET6)"), {IPV6}),
        (python("gethostbyname_ex('two.example')"), {IPV4}),
    ],
)
def test_what_a_program_is_given_is_heard_with_the_name_that_it_asked_for(
    heard: Listener, resolver: Path, argv: tuple[str, ...], wanted: set[str]
) -> None:
    answers = of(run(resolver, *argv), heard)

    assert {each.name.lower() for each in answers} == {"two.example"}
    assert {"Two.Example" in argv[-1]} == {each.name == "Two.Example" for each in answers}
    assert {address for each in answers for address in each.addresses} == {
        packed_address(each) for each in wanted
    }


def test_the_asker_is_all_that_the_process_is(heard: Listener, resolver: Path) -> None:
    (answer,) = of(run(resolver, "getent", "ahosts", "two.example"), heard)

    assert isinstance(answer.asker, Process)
    status = Path("/usr/bin/getent").stat()
    assert (answer.asker.exe.device, answer.asker.exe.inode) == (status.st_dev, status.st_ino)
    assert answer.asker.args == ("getent", "ahosts", "two.example")
    assert (answer.asker.uid, answer.asker.netns) == (0, netns.inode())
    assert answer.asker.parents[0].pid == os.getpid()
    assert answer.seen_ns > 0


def test_a_name_that_no_resolver_was_asked_for_is_heard_all_the_same(heard: Listener) -> None:
    heard.heard()
    socket.getaddrinfo("localhost", 80, socket.AF_INET)
    found = heard.heard()

    assert not any(isinstance(each, DnsPacket) for each in found)
    ours = [each for each in found if isinstance(each, LibcAnswer) and is_ours(each)]
    assert {(each.name, each.addresses) for each in ours} == {("localhost", (LOCALHOST,))}


def is_ours(answer: LibcAnswer) -> bool:
    return isinstance(answer.asker, Process) and answer.asker.pid == os.getpid()


def test_it_is_heard_before_the_program_goes_on(heard: Listener) -> None:
    there = 0
    for _ in range(200):
        heard.heard()
        socket.getaddrinfo("localhost", 80)
        there += any(isinstance(each, LibcAnswer) and is_ours(each) for each in heard.heard())

    assert there == 200


def test_what_was_not_found_is_not_heard(heard: Listener, resolver: Path) -> None:
    not_found = 2  # getent(1)

    for database in ("ahosts", "hosts"):
        assert of(run(resolver, "getent", database, "no.invalid", status=not_found), heard) == []


def test_of_many_addresses_sixteen_are_kept(heard: Listener, resolver: Path) -> None:
    for database in ("ahosts", "hosts"):
        (answer,) = of(run(resolver, "getent", database, "many.example"), heard)
        assert len(set(answer.addresses)) == 16


def test_threads_are_told_apart(heard: Listener) -> None:
    names = [f"127.0.0.{at}" for at in range(1, 33)]  # numbers are names to the library
    heard.heard()
    threads = [threading.Thread(target=socket.getaddrinfo, args=(name, 80)) for name in names * 4]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    answers = heard.answers(is_ours)
    assert len(answers) == len(threads)
    assert {(each.name, each.addresses) for each in answers} == {
        (name, (packed_address(name),)) for name in names
    }


def test_a_child_that_goes_on_without_exec_is_itself(heard: Listener) -> None:
    heard.heard()
    child = os.fork()
    if not child:
        socket.getaddrinfo("localhost", 80)
        os._exit(0)
    os.waitpid(child, 0)

    assert {each.name for each in of(child, heard)} == {"localhost"}


def test_a_name_too_long_to_be_one_is_not_heard(heard: Listener) -> None:
    heard.heard()
    for name in ("a" * 255, "a" * 5_000, ""):
        with pytest.raises((OSError, UnicodeError)):
            socket.getaddrinfo(name.encode(), 80, 0, 0, 0, socket.AI_NUMERICHOST)

    assert heard.answers(is_ours) == []
