"""Owners read from eBPF's maps: put together, kept, and what else those maps answer."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from builders import (
    COMPLETE,
    NO_PROCESS,
    NS_PER_S,
    KernelImage,
    KernelOwner,
    flow,
    image_key,
    own_key,
)
from fakes import FakeOwners
from nfsnitch.adapters.bpf import layout
from nfsnitch.adapters.bpf.layout import ImageFlag, OwnerFlag
from nfsnitch.core.counters import Counter
from nfsnitch.core.owner import Ancestor, Executable, Process
from nfsnitch.core.unknown import Unknown

COOKIE = FakeOwners.COOKIE
CURL, SHELL, INIT = image_key(300), image_key(200), image_key(1)


@pytest.fixture(name="kernel")
def fixture_kernel() -> FakeOwners:
    return FakeOwners()


def test_a_socket_that_was_not_seen_has_no_owner(kernel: FakeOwners) -> None:
    assert kernel.store.socket_user(COOKIE) is None


def test_a_socket_comes_with_its_process_and_times(kernel: FakeOwners) -> None:
    kernel.has_image(CURL, KernelImage())
    kernel.has_socket(COOKIE, KernelOwner(CURL, created_ns=3, released_ns=4))

    user = kernel.store.socket_user(COOKIE)

    assert user is not None
    assert (user.cookie, user.created_ns, user.released_ns) == (COOKIE, 3, 4)
    assert not user.shares_port
    assert user.owner == Process(
        pid=300,
        tid=301,
        start_time_ns=5 * NS_PER_S,
        uid=1_000,
        gid=100,
        exe=Executable("/usr/bin/curl", os.makedev(8, 1), 1_234, deleted=False),
        args=("curl", "-s"),
        comm="curl",
        parents=(),
        cgroup_id=77,
        cgroup="/user.slice",
        netns=4_026_531_840,
    )


def test_who_made_a_socket_is_told_where_another_program_uses_it(kernel: FakeOwners) -> None:
    kernel.has_image(CURL, KernelImage())
    kernel.has_image(SHELL, KernelImage(exe=b"/bin/sh"))
    kernel.has_socket(1, KernelOwner(CURL, opener=SHELL))
    kernel.has_socket(2, KernelOwner(CURL, opener=image_key(300, exec_id=0)))
    kernel.has_socket(3, KernelOwner(CURL))
    kernel.has_socket(4, KernelOwner(CURL, opener=NO_PROCESS))

    passed, inherited, own, older = (kernel.process(cookie).opener for cookie in (1, 2, 3, 4))

    assert isinstance(passed, Ancestor)
    assert (passed.pid, passed.exe.path) == (200, "/bin/sh")
    assert isinstance(inherited, Ancestor)
    assert isinstance(inherited.exe.path, Unknown)
    assert own is None
    assert older == Unknown("the socket is older than the eBPF programs")


def test_a_name_ends_at_its_nul_and_need_not_have_one(kernel: FakeOwners) -> None:
    kernel.has_image(CURL, KernelImage())
    kernel.has_socket(1, KernelOwner(CURL, comm=b"ab\0left over"))
    kernel.has_socket(2, KernelOwner(CURL, comm=b"sixteen bytes!!!"))

    assert (kernel.process(1).comm, kernel.process(2).comm) == ("ab", "sixteen bytes!!!")


def test_the_chain_of_parents_is_followed_nearest_first(kernel: FakeOwners) -> None:
    kernel.has_image(INIT, KernelImage(exe=b"/sbin/init"))
    kernel.has_image(SHELL, KernelImage(parent=INIT, exe=b"/bin/sh", exe_inode=7))

    found = kernel.socket_of(CURL, KernelImage(parent=SHELL))

    device = os.makedev(8, 1)
    assert found.parents == (
        Ancestor(200, 5 * NS_PER_S, Executable("/bin/sh", device, 7)),
        Ancestor(1, 5 * NS_PER_S, Executable("/sbin/init", device, 1_234)),
    )


def test_a_chain_ends_where_an_ancestors_image_is_missing_and_says_so(kernel: FakeOwners) -> None:
    found = kernel.socket_of(CURL, KernelImage(parent=SHELL))

    (shell,) = found.parents
    assert shell.pid == 200
    assert isinstance(shell.exe.path, Unknown)
    assert "the map of processes was full" in shell.exe.path.reason


def test_a_chain_is_followed_so_far_and_no_further(kernel: FakeOwners) -> None:
    kernel.has_image(SHELL, KernelImage(parent=SHELL))

    found = kernel.socket_of(CURL, KernelImage(parent=SHELL))

    assert [parent.pid for parent in found.parents] == [200] * 16


def test_an_image_is_read_once_for_all_sockets_of_a_process(kernel: FakeOwners) -> None:
    kernel.has_image(SHELL, KernelImage(exe=b"/bin/sh"))
    first = kernel.socket_of(CURL, KernelImage(parent=SHELL))
    for key in (CURL, SHELL):
        kernel.has_image(key, KernelImage(exe=b"/changed"))
    kernel.has_socket(COOKIE + 1, KernelOwner(CURL))

    assert kernel.process(COOKIE + 1) == first


def test_another_exec_of_a_process_has_another_image(kernel: FakeOwners) -> None:
    before = kernel.socket_of(CURL, KernelImage())

    after = kernel.socket_of(image_key(300, exec_id=2), KernelImage(exe=b"/usr/bin/wget"))

    assert (before.exe.path, after.exe.path) == ("/usr/bin/curl", "/usr/bin/wget")
    assert (before.pid, before.start_time_ns) == (after.pid, after.start_time_ns)


def test_arguments_that_come_later_are_seen(kernel: FakeOwners) -> None:
    early = kernel.socket_of(CURL, KernelImage(flags=COMPLETE & ~ImageFlag.ARGS_KNOWN))

    late = kernel.socket_of(CURL, KernelImage())

    assert isinstance(early.args, Unknown)
    assert late.args == ("curl", "-s")


def test_an_ancestor_that_was_read_without_arguments_has_them_as_an_owner(
    kernel: FakeOwners,
) -> None:
    kernel.has_image(SHELL, KernelImage(flags=COMPLETE & ~ImageFlag.ARGS_KNOWN))
    kernel.socket_of(CURL, KernelImage(parent=SHELL))

    found = kernel.socket_of(SHELL, KernelImage(args=b"sh\0"))

    assert found.args == ("sh",)


def test_an_ancestor_that_was_being_filled_in_is_seen_once_it_has_been(kernel: FakeOwners) -> None:
    kernel.has_image(SHELL, KernelImage(flags=ImageFlag(0)))
    kernel.socket_of(CURL, KernelImage(parent=SHELL))
    kernel.has_image(SHELL, KernelImage(exe=b"/bin/sh"))

    found = kernel.process()

    assert found.parents[0].exe.path == "/bin/sh"


def test_an_owner_whose_image_is_missing_is_unknown_and_the_socket_is_not(
    kernel: FakeOwners,
) -> None:
    kernel.has_socket(COOKIE, KernelOwner(own_key(), created_ns=3))

    user = kernel.store.socket_user(COOKIE)

    assert user is not None
    assert (user.cookie, user.created_ns) == (COOKIE, 3)
    # Its pid alone, looked up in /proc, may by now be another's.
    assert isinstance(user.owner, Unknown)
    assert "the map of processes was full" in user.owner.reason


def test_an_owner_whose_image_came_late_is_known_from_then_on(kernel: FakeOwners) -> None:
    kernel.has_socket(COOKIE, KernelOwner(CURL))
    early = kernel.owner()
    kernel.has_image(CURL, KernelImage())

    assert isinstance(early, Unknown)
    assert kernel.process().exe.path == "/usr/bin/curl"


def test_two_threads_and_two_users_of_one_process_are_told_apart(kernel: FakeOwners) -> None:
    kernel.socket_of(CURL, KernelImage())
    kernel.has_socket(1, KernelOwner(CURL, uid=1_001))
    kernel.has_socket(2, KernelOwner(CURL, comm=b"worker"))

    assert kernel.process() == replace(kernel.process(1), uid=1_000)
    assert kernel.process(2).comm == "worker"


def test_what_is_remembered_of_a_process_is_not_its_sockets_times(kernel: FakeOwners) -> None:
    kernel.has_image(CURL, KernelImage())
    kernel.has_socket(COOKIE, KernelOwner(CURL, created_ns=3))
    before = kernel.store.socket_user(COOKIE)
    kernel.has_socket(COOKIE, KernelOwner(CURL, created_ns=3, released_ns=4))
    after = kernel.store.socket_user(COOKIE)

    assert before is not None
    assert after is not None
    assert (before.released_ns, after.released_ns) == (0, 4)
    assert before.owner == after.owner


@pytest.mark.parametrize("known_already", [False, True])
def test_a_socket_says_whether_another_may_have_its_port(
    kernel: FakeOwners,
    known_already: bool,  # noqa: FBT001  a parameter of the test
) -> None:
    kernel.has_image(CURL, KernelImage())
    if known_already:
        kernel.has_socket(COOKIE, KernelOwner(CURL))
        kernel.owner()
    kernel.has_socket(COOKIE, KernelOwner(CURL, flags=OwnerFlag.USED | OwnerFlag.SHARES_PORT))

    user = kernel.store.socket_user(COOKIE)

    assert user is not None
    assert user.shares_port


def test_claims_and_ports_are_read_by_their_keys(kernel: FakeOwners) -> None:
    flow_key, port_key = layout.flow_key(1, flow()), layout.port_key(1, 17, 53)
    assert kernel.store.claim_on_flow(flow_key) is None
    assert kernel.store.cookie_of_port(port_key) is None

    kernel.programs.flows.put(flow_key, layout.FLOW_VALUE.pack(9, 5, 6, 4, 8, 7, 0, 0))
    kernel.programs.ports.put(port_key, layout.PORT_VALUE.pack(9, 0))

    assert kernel.store.claim_on_flow(flow_key) == (9, 5, 4, (8, 7))
    assert kernel.store.cookie_of_port(port_key) == 9


def test_a_port_that_several_share_tells_nothing(kernel: FakeOwners) -> None:
    key = layout.port_key(1, 17, 53)
    kernel.programs.ports.put(key, layout.PORT_VALUE.pack(9, 1))

    assert kernel.store.cookie_of_port(key) is None


def test_a_raw_protocol_names_its_latest_socket_and_how_many_are_open(kernel: FakeOwners) -> None:
    key = layout.raw_key(1, 255)
    assert kernel.store.raw_sockets(key) is None

    kernel.programs.raw_sockets.put(key, layout.RAW_VALUE.pack(9, 2, 0))

    assert kernel.store.raw_sockets(key) == (9, 2, 0)


def test_the_kernels_counters_have_names(kernel: FakeOwners) -> None:
    for number in (0, 2):
        kernel.programs.counters.put(
            layout.COUNTER_KEY.pack(number), layout.COUNTER_VALUE.pack(number + 5)
        )

    assert kernel.store.counters() == {Counter.OWNERS_FULL: 5, Counter.RELEASES_LOST: 7}


def test_the_ring_buffer_is_the_one_that_is_polled_and_closed(kernel: FakeOwners) -> None:
    (ring,) = kernel.programs.rings
    assert kernel.store.fileno() == ring.fileno()

    kernel.store.close()

    assert ring.closed
