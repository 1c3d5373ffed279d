"""Names go on being seen while no daemon is there, and the next one reads them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from attach_mode import present_mode
from builders import own_netns
from name_play import DNS_PORT, in_cgroup, question
from nfsnitch.adapters import netns
from nfsnitch.adapters.bpf import bpffs, libc_places
from nfsnitch.adapters.bpf.core_loader import LoadedPrograms
from nfsnitch.adapters.bpf.keeping import Kept, Place, Wish, kept, remove_pins
from nfsnitch.adapters.bpf.name_samples import NameSamples
from nfsnitch.core.name_sample import DnsPacket, LibcAnswer, NameSample
from nfsnitch.core.unknown import Unknown
from nfsnitch.lab import cgroups
from nfsnitch.lab.runs import Run
from nfsnitch.resources import bpf_object

pytestmark = [pytest.mark.root, pytest.mark.netns, pytest.mark.bpf]

LOCALHOST = "127.0.0.1"


@pytest.fixture(name="cgroup")
def fixture_cgroup() -> Iterator[Path]:
    with own_netns():
        path = cgroups.make(Run.new().cgroup())
        yield path
        cgroups.remove(path)


@pytest.fixture(name="place")
def fixture_place(cgroup: Path) -> Iterator[Place]:
    path = bpffs.PINS / f"test-{cgroup.name}"
    yield Place(path, netns.cookie())
    remove_pins(path)


def kept_programs(cgroup: Path) -> Wish:
    return Wish(bpf_object(), cgroup, present_mode())


def left(held: Kept) -> None:
    """Leave the programs as a daemon does that is killed."""
    assert held.folder is not None, held.origin
    held.stay = True


def ask(cgroup: Path) -> None:
    with in_cgroup(cgroup), socket.socket(type=socket.SOCK_DGRAM) as asker:
        asker.sendto(question(), (LOCALHOST, DNS_PORT))
    socket.getaddrinfo(LOCALHOST, DNS_PORT)


def seen(programs: LoadedPrograms) -> list[type[NameSample]]:
    with closing(NameSamples(programs, lambda _entry: Unknown("nobody looked"))) as samples:
        return [type(each) for each in samples.drain()]


def test_what_was_asked_while_nobody_was_there_is_read_by_who_comes_next(
    cgroup: Path, place: Place
) -> None:
    with kept(kept_programs(cgroup), place) as held:
        left(held)
        problems = held.programs.dns_problem, held.programs.libc_problem
    ask(cgroup)
    with kept(kept_programs(cgroup), place) as held:
        assert held.origin.startswith("taken over")
        assert (held.programs.dns_problem, held.programs.libc_problem) == problems == (None, None)
        assert {DnsPacket, LibcAnswer} <= set(seen(held.programs))
        ask(cgroup)
        assert {DnsPacket, LibcAnswer} <= set(seen(held.programs))
        held.stay = False

    assert not place.path.exists()


def test_programs_on_a_library_that_was_replaced_are_replaced(
    cgroup: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kept(kept_programs(cgroup), place) as held:
        left(held)
    monkeypatch.setattr(libc_places, "identity", lambda: "another one")
    with kept(kept_programs(cgroup), place) as held:
        assert held.origin.startswith("new, in place of earlier ones")
        ask(cgroup)
        assert {DnsPacket, LibcAnswer} <= set(seen(held.programs))
        held.stay = False
