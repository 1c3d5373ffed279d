"""What outlives the daemon: the owners of sockets that live, over kill -9, restart and upgrade."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from attach_mode import by_probe_or
from builders import WriteRules
from nfsnitch.adapters.bpf import bpffs, layout
from nfsnitch.adapters.bpf.keeping import remove_pins
from nfsnitch.adapters.bpf.libbpf import Libbpf
from nfsnitch.adapters.bpf.map import BpfMap
from nfsnitch.adapters.bpf.pins import About, PinFolder
from nfsnitch.adapters.bpf.readers import reader_file, rows
from nfsnitch.core.record import Json
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.process import Child
from nfsnitch.lab.services import ECHO_PORT, Services
from nfsnitch.lab.waiting import Deadline
from nfsnitch.lab.world import World

pytestmark = [pytest.mark.root, pytest.mark.netns, pytest.mark.bpf]
BY_PROBES = pytest.mark.vm_guest(modes=("lsm", "kprobe"))

ALLOW = "fail: closed\ndefault: allow\nunattributed: deny\nrules: []\n"
BY_EBPF = {"queue-probe", "flow-map", "sock-diag", "port-map", "packet-filter"}
CONNECTED, UNCONNECTED = 6_001, 6_002

# Makes a socket of each kind and says so. At SIGUSR1 it sends through each; at the next it ends.
HOLDER = """
import signal, socket, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
daddr, connected_port, unconnected_port, tcp_port = sys.argv[1], *map(int, sys.argv[2:])
connected = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
connected.connect((daddr, connected_port))
unconnected = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
tcp = socket.socket()
print("holding", flush=True)
signal.sigwait({signal.SIGUSR1})
connected.send(b"x")
unconnected.sendto(b"x", (daddr, unconnected_port))
tcp.connect((daddr, tcp_port))
print("sent", flush=True)
signal.sigwait({signal.SIGUSR1})
"""


def pins_of(world: World) -> Path:
    return bpffs.PINS / bpffs.folder_name(world.netns_inode("client"))


def holder(world: World) -> Child:
    ports = map(str, (CONNECTED, UNCONNECTED, ECHO_PORT))
    child = world.spawn([sys.executable, "-I", "-S", "-c", HOLDER, "192.0.2.1", *ports])
    child.wait_for_line(child.stdout, lambda line: line == "holding", 20)
    return child


def records_of_sending(firewall: Firewall, child: Child) -> list[Json]:
    """Have the holder send; return the records of its three packets."""
    child.send(signal.SIGUSR1)
    child.wait_for_line(child.stdout, lambda line: line == "sent", 20)
    ports = (CONNECTED, UNCONNECTED, ECHO_PORT)
    return [firewall.wait_for_record(having(pid=child.pid, dport=port)) for port in ports]


def assert_recorded(records: list[Json]) -> None:
    """Check that eBPF has known each of them, and no look into /proc was needed."""
    assert {record["attribution"] for record in records} <= BY_EBPF
    assert {record["verdict"] for record in records} == {"accept"}


def killed(firewall: Firewall) -> None:
    firewall.child.stop(signal.SIGKILL)


def told_to_restart(firewall: Firewall) -> None:
    assert firewall.stop(signal.SIGUSR2).returncode == 0


@pytest.mark.parametrize("end", [pytest.param(killed, marks=BY_PROBES), told_to_restart])
def test_a_daemon_that_is_gone_loses_no_owner_of_a_socket_that_lives(
    world: World, services: Services, rules: WriteRules, end: Callable[[Firewall], None]
) -> None:
    assert services.echo.pid
    path = rules(ALLOW)
    with Firewall(world, [path]) as first:
        before = holder(world)
        end(first)
        meanwhile = holder(world)
    with Firewall(world, [path]) as second:
        found = [records_of_sending(second, child) for child in (before, meanwhile)]
        said = second.stop().stderr

    assert "taken over with all that they have recorded" in said
    for records in found:
        assert_recorded(records)


def test_without_the_pins_the_same_sockets_are_looked_for_in_proc(
    world: World, services: Services, rules: WriteRules
) -> None:
    assert services.echo.pid
    path = rules(ALLOW)
    with Firewall(world, [path]) as first:
        child = holder(world)
        killed(first)
    assert remove_pins(pins_of(world))
    with Firewall(world, [path]) as second:
        child.send(signal.SIGUSR1)
        child.wait_for_line(child.stdout, lambda line: line == "sent", 20)
        record = second.wait_for_record(having(pid=child.pid, dport=CONNECTED))

    assert record["attribution"] == by_probe_or("proc")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_clean_stop_leaves_nothing_pinned(
    world: World, rules: WriteRules, number: signal.Signals
) -> None:
    with Firewall(world, [rules(ALLOW)]) as firewall:
        meanwhile = pins_of(world).exists()
        firewall.stop(number)

    assert meanwhile
    assert not pins_of(world).exists()


def rewritten(world: World, change: Callable[[About], About]) -> None:
    """Make what is pinned look as if another program had pinned it."""
    library = Libbpf()
    about = PinFolder(library, pins_of(world)).about()
    assert about is not None
    path = pins_of(world) / "maps" / "about"
    raw = change(about).packed()
    with closing(os.fdopen(library.function("bpf_obj_get")(os.fsencode(path)))) as file:
        BpfMap(library, file.fileno(), 4, len(raw)).put(bytes(4), raw)


@pytest.mark.vm_guest(modes=("lsm",))
def test_a_daemon_of_another_build_attaches_its_own_and_takes_over_what_was_recorded(
    world: World, services: Services, rules: WriteRules
) -> None:
    assert services.echo.pid
    path = rules(ALLOW)
    with Firewall(world, [path]) as first:
        child = holder(world)
        killed(first)
    rewritten(world, lambda about: about._replace(build=bytes(32)))
    with Firewall(world, [path]) as second:
        records = records_of_sending(second, child)
        said = second.stop().stderr

    assert "in place of earlier ones, with what these had recorded" in said
    assert_recorded(records)


@pytest.mark.parametrize("version", [layout.LAYOUT_VERSION - 1, layout.LAYOUT_VERSION + 1])
def test_programs_of_another_layout_are_replaced(
    world: World, services: Services, rules: WriteRules, version: int
) -> None:
    assert services.echo.pid
    path = rules(ALLOW)
    with Firewall(world, [path]) as first:
        killed(first)
    rewritten(world, lambda about: about._replace(layout_version=version))
    with Firewall(world, [path]) as second:
        records = records_of_sending(second, holder(world))
        about = PinFolder(Libbpf(), pins_of(world)).about()
        beside = [entry.name for entry in pins_of(world).parent.glob(f"{pins_of(world).name}-*")]
        said = second.stop().stderr

    assert "in place of earlier ones, which were of another kind" in said
    assert_recorded(records)
    assert about is not None
    assert about.layout_version == layout.LAYOUT_VERSION
    assert beside == []


def test_what_a_dead_namespace_left_under_the_same_number_is_not_taken_over(
    world: World, rules: WriteRules
) -> None:
    path = rules(ALLOW)
    with Firewall(world, [path]) as first:
        killed(first)
    rewritten(world, lambda about: about._replace(netns_cookie=about.netns_cookie + 1))
    with Firewall(world, [path]) as second:
        said = second.stop().stderr

    assert "in place of earlier ones, which were of another kind" in said
    assert not pins_of(world).exists()


def test_a_start_that_fails_leaves_what_was_there_before_and_nothing_else(
    world: World, rules: WriteRules
) -> None:
    path = rules(ALLOW)
    busy = Firewall(world, [path], extra=["--socket", "/nonexistent/nfsnitch.sock"])
    with pytest.raises(Exception, match="its directory cannot be used"):
        busy.start()
    nothing_before = pins_of(world).exists()
    with Firewall(world, [path]) as first:
        killed(first)
    with pytest.raises(Exception, match="its directory cannot be used"):
        busy.start()

    assert not nothing_before
    assert PinFolder(Libbpf(), pins_of(world)).about() is not None


def test_killed_when_its_programs_were_to_take_the_place_of_others_they_are_found(
    world: World, rules: WriteRules
) -> None:
    path = rules(ALLOW)
    with Firewall(world, [path]) as first:
        killed(first)
    pins_of(world).rename(pins_of(world).with_name(f"{pins_of(world).name}-new"))
    with Firewall(world, [path]) as second:
        there = pins_of(world).exists()
        said = second.stop().stderr

    assert there
    assert "taken over with all that they have recorded" in said


def test_what_was_pinned_by_half_is_removed_and_made_anew(world: World, rules: WriteRules) -> None:
    path = rules(ALLOW)
    with Firewall(world, [path]) as first:
        killed(first)
    (pins_of(world) / "maps" / "about").unlink()
    with Firewall(world, [path]) as second:
        about = PinFolder(Libbpf(), pins_of(world)).about()
        said = second.stop().stderr

    assert "eBPF programs: new\n" in said
    assert about is not None


def test_a_program_that_was_taken_off_its_hook_is_noticed_and_put_back(
    world: World, services: Services, rules: WriteRules
) -> None:
    assert services.echo.pid
    path = rules(ALLOW)
    with Firewall(world, [path]) as first:
        child = holder(world)
        killed(first)
    next((pins_of(world) / "links").iterdir()).unlink()
    with Firewall(world, [path]) as second:
        records = records_of_sending(second, child)
        said = second.stop().stderr

    assert "is of no use: some of its programs are missing" in said
    assert "with what these had recorded" in said
    assert_recorded(records)


def test_a_socket_that_is_closed_while_no_daemon_runs_leaves_no_owner(
    world: World, rules: WriteRules
) -> None:
    path = rules(ALLOW)
    with Firewall(world, [path]) as first:
        killed(first)
    child = holder(world)
    child.stop(signal.SIGKILL)
    waiting = owning(world)
    with Firewall(world, [path]):
        deadline = Deadline(30)
        while child.pid in owning(world) and deadline.left_ms():
            pass
        left = owning(world)

    assert child.pid in waiting
    assert child.pid not in left


def owning(world: World) -> set[int]:
    """Return the pids of all owners that there are, of closed sockets as well."""
    with reader_file(pins_of(world), "owners").open("rb") as file:
        entries = [layout.OwnerEntry.unpacked(raw) for _, raw in rows(file, "owners")]
    return {layout.ImageKey.unpacked(entry.image_key).pid for entry in entries}
