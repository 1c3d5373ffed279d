"""Owners read from eBPF's maps: put together, kept, completed, and removed in time."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import cast

import pytest

from builders import COMPLETE, NS_PER_S, KernelImage, KernelOwner, flow, image_key
from fakes import FakeClock, FakePrograms
from nfsnitch.adapters import procfs
from nfsnitch.adapters.bpf import layout
from nfsnitch.adapters.bpf.core_loader import LoadedPrograms
from nfsnitch.adapters.bpf.layout import ImageFlag
from nfsnitch.adapters.bpf.owners import IMAGE_IDLE_NS, RELEASE_GRACE_NS, OwnerStore
from nfsnitch.core.counters import Counter
from nfsnitch.core.owner import Ancestor, Executable, Process
from nfsnitch.core.unknown import Unknown

COOKIE = 8_001
CURL, SHELL, INIT = image_key(300), image_key(200), image_key(1)


class Kernel:
    """The maps as the eBPF programs would have written them, and the store that reads them."""

    def __init__(self) -> None:
        self.programs = FakePrograms()
        self.clock = FakeClock(2**62)  # far ahead of any real one
        self.closed: list[int] = []
        programs = cast("LoadedPrograms", self.programs)
        self.store = OwnerStore(programs, self.closed.append, self.clock)

    def has_image(self, key: bytes, image: KernelImage) -> None:
        """Write a process's image, in use just now if it does not say when."""
        used = image.last_used_ns or self.clock.now_ns
        self.programs.images.put(key, replace(image, last_used_ns=used).packed())

    def has_socket(self, cookie: int, owner: KernelOwner) -> None:
        """Write a socket's owner."""
        self.programs.owners.put(layout.COOKIE.pack(cookie), owner.packed())

    def socket_of(self, key: bytes, image: KernelImage) -> Process:
        """Write a process with a socket, and return the socket's owner as the store has it."""
        self.has_image(key, image)
        self.has_socket(COOKIE, KernelOwner(key))
        return self.owner()

    def owner(self, cookie: int = COOKIE) -> Process:
        """Return a socket's owner, which must be there."""
        user = self.store.socket_user(cookie)
        assert user is not None
        return user.process

    def close_socket(self, cookie: int) -> None:
        """Close a socket; the store has not heard of it yet."""
        self.programs.close_socket(cookie)

    def sweep(self) -> None:
        """Let the store sweep to the end."""
        for _ in self.store.sweep_images():
            pass


@pytest.fixture(name="kernel")
def fixture_kernel() -> Kernel:
    return Kernel()


def own_key(*, start_offset_ns: int = 0) -> bytes:
    """Return the key of the image of this very process, or of one that had its pid before."""
    stat = procfs.stat(os.getpid())
    assert stat is not None
    return image_key(os.getpid(), stat.start_time_ns + start_offset_ns)


def own_inode() -> int:
    inode = procfs.executable(os.getpid()).inode
    assert isinstance(inode, int)
    return inode


def test_a_socket_that_was_not_seen_has_no_owner(kernel: Kernel) -> None:
    assert kernel.store.socket_user(COOKIE) is None


def test_a_socket_comes_with_its_process_and_times(kernel: Kernel) -> None:
    kernel.has_image(CURL, KernelImage())
    kernel.has_socket(COOKIE, KernelOwner(CURL, created_ns=3, released_ns=4))

    user = kernel.store.socket_user(COOKIE)

    assert user is not None
    assert (user.cookie, user.created_ns, user.released_ns) == (COOKIE, 3, 4)
    assert user.process == Process(
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


def test_a_name_ends_at_its_nul_and_need_not_have_one(kernel: Kernel) -> None:
    kernel.has_image(CURL, KernelImage())
    kernel.has_socket(1, KernelOwner(CURL, comm=b"ab\0left over"))
    kernel.has_socket(2, KernelOwner(CURL, comm=b"sixteen bytes!!!"))

    assert (kernel.owner(1).comm, kernel.owner(2).comm) == ("ab", "sixteen bytes!!!")


def test_the_chain_of_parents_is_followed_nearest_first(kernel: Kernel) -> None:
    kernel.has_image(INIT, KernelImage(exe=b"/sbin/init"))
    kernel.has_image(SHELL, KernelImage(parent=INIT, exe=b"/bin/sh", exe_inode=7))

    found = kernel.socket_of(CURL, KernelImage(parent=SHELL))

    device = os.makedev(8, 1)
    assert found.parents == (
        Ancestor(200, 5 * NS_PER_S, Executable("/bin/sh", device, 7)),
        Ancestor(1, 5 * NS_PER_S, Executable("/sbin/init", device, 1_234)),
    )


def test_a_chain_ends_where_an_ancestors_image_is_missing_and_says_so(kernel: Kernel) -> None:
    found = kernel.socket_of(CURL, KernelImage(parent=SHELL))

    (shell,) = found.parents
    assert shell.pid == 200
    assert isinstance(shell.exe.path, Unknown)
    assert "the map of processes was full" in shell.exe.path.reason


def test_a_chain_is_followed_so_far_and_no_further(kernel: Kernel) -> None:
    kernel.has_image(SHELL, KernelImage(parent=SHELL))

    found = kernel.socket_of(CURL, KernelImage(parent=SHELL))

    assert [parent.pid for parent in found.parents] == [200] * 16


def test_an_image_is_read_once_for_all_sockets_of_a_process(kernel: Kernel) -> None:
    kernel.has_image(SHELL, KernelImage(exe=b"/bin/sh"))
    first = kernel.socket_of(CURL, KernelImage(parent=SHELL))
    for key in (CURL, SHELL):
        kernel.has_image(key, KernelImage(exe=b"/changed"))
    kernel.has_socket(COOKIE + 1, KernelOwner(CURL))

    assert kernel.owner(COOKIE + 1) == first


def test_another_exec_of_a_process_has_another_image(kernel: Kernel) -> None:
    before = kernel.socket_of(CURL, KernelImage())

    after = kernel.socket_of(image_key(300, exec_id=2), KernelImage(exe=b"/usr/bin/wget"))

    assert (before.exe.path, after.exe.path) == ("/usr/bin/curl", "/usr/bin/wget")
    assert (before.pid, before.start_time_ns) == (after.pid, after.start_time_ns)


def test_arguments_that_come_later_are_seen(kernel: Kernel) -> None:
    early = kernel.socket_of(CURL, KernelImage(flags=COMPLETE & ~ImageFlag.ARGS_KNOWN))

    late = kernel.socket_of(CURL, KernelImage())

    assert isinstance(early.args, Unknown)
    assert late.args == ("curl", "-s")


def test_an_ancestor_that_was_read_without_arguments_has_them_as_an_owner(
    kernel: Kernel,
) -> None:
    kernel.has_image(SHELL, KernelImage(flags=COMPLETE & ~ImageFlag.ARGS_KNOWN))
    kernel.socket_of(CURL, KernelImage(parent=SHELL))

    found = kernel.socket_of(SHELL, KernelImage(args=b"sh\0"))

    assert found.args == ("sh",)


def test_an_ancestor_that_was_being_filled_in_is_seen_once_it_has_been(kernel: Kernel) -> None:
    kernel.has_image(SHELL, KernelImage(flags=ImageFlag(0)))
    kernel.socket_of(CURL, KernelImage(parent=SHELL))
    kernel.has_image(SHELL, KernelImage(exe=b"/bin/sh"))

    found = kernel.owner()

    assert found.parents[0].exe.path == "/bin/sh"


def test_an_owner_whose_image_is_missing_keeps_what_the_socket_says(kernel: Kernel) -> None:
    nobody = image_key(2**22 + 1)  # PID_MAX_LIMIT and one
    kernel.has_socket(COOKIE, KernelOwner(nobody))

    found = kernel.owner()

    assert (found.pid, found.uid, found.comm, found.parents) == (2**22 + 1, 1_000, "curl", ())
    for value in (found.exe.path, found.exe.inode, found.args, found.cgroup):
        assert isinstance(value, Unknown)
        assert "the map of processes was full" in value.reason


@pytest.mark.parametrize(
    ("flags", "lacking"),
    [
        (COMPLETE & ~ImageFlag.ARGS_KNOWN, "args"),
        (COMPLETE | ImageFlag.ARGS_TRUNCATED, "args"),
        (COMPLETE | ImageFlag.EXE_TRUNCATED, "exe"),
        (COMPLETE | ImageFlag.TORN, "exe"),
        (COMPLETE & ~(ImageFlag.ARGS_KNOWN | ImageFlag.CGROUP_KNOWN), "cgroup"),
    ],
)
def test_what_the_kernel_could_not_tell_comes_from_proc_if_it_is_the_same_process(
    kernel: Kernel, flags: ImageFlag, lacking: str
) -> None:
    found = kernel.socket_of(own_key(), KernelImage(flags=flags, exe_inode=own_inode()))

    there = procfs.process(os.getpid())
    assert isinstance(there, Process)
    assert getattr(found, lacking) == getattr(there, lacking)
    assert found.uid == 1_000  # what the kernel did tell is not replaced


def test_proc_is_asked_once_for_all_sockets_of_such_a_process(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = COMPLETE & ~ImageFlag.ARGS_KNOWN
    first = kernel.socket_of(own_key(), KernelImage(flags=flags, exe_inode=own_inode()))
    monkeypatch.setattr(procfs, "process", lambda _pid: Unknown("asked again"))
    kernel.has_socket(COOKIE + 1, KernelOwner(own_key()))

    assert kernel.owner(COOKIE + 1) == first
    assert isinstance(first.args, tuple)


def test_what_the_kernel_did_tell_is_not_replaced_by_what_proc_says(kernel: Kernel) -> None:
    flags = COMPLETE & ~ImageFlag.ARGS_KNOWN

    found = kernel.socket_of(own_key(), KernelImage(flags=flags, exe_inode=own_inode()))

    assert (found.exe.path, found.cgroup) == ("/usr/bin/curl", "/user.slice")


def test_a_process_that_only_has_the_same_pid_lends_nothing(kernel: Kernel) -> None:
    flags = COMPLETE & ~ImageFlag.ARGS_KNOWN
    earlier = own_key(start_offset_ns=-10 * NS_PER_S)

    found = kernel.socket_of(earlier, KernelImage(flags=flags, exe_inode=own_inode()))

    assert isinstance(found.args, Unknown)


def test_a_process_that_runs_another_file_by_now_lends_nothing(kernel: Kernel) -> None:
    flags = COMPLETE & ~ImageFlag.ARGS_KNOWN

    found = kernel.socket_of(own_key(), KernelImage(flags=flags, exe_inode=own_inode() + 1))

    assert isinstance(found.args, Unknown)


def test_claims_and_ports_are_read_by_their_keys(kernel: Kernel) -> None:
    flow_key, port_key = layout.flow_key(1, flow()), layout.port_key(1, 17, 53)
    assert kernel.store.claim_on_flow(flow_key) is None
    assert kernel.store.cookie_of_port(port_key) is None

    kernel.programs.flows.put(flow_key, layout.FLOW_VALUE.pack(9, 5, 8, 7, 0, 0))
    kernel.programs.ports.put(port_key, layout.PORT_VALUE.pack(9, 0))

    assert kernel.store.claim_on_flow(flow_key) == (9, 5, (8, 7))
    assert kernel.store.cookie_of_port(port_key) == 9


def test_a_port_that_several_share_tells_nothing(kernel: Kernel) -> None:
    key = layout.port_key(1, 17, 53)
    kernel.programs.ports.put(key, layout.PORT_VALUE.pack(9, 1))

    assert kernel.store.cookie_of_port(key) is None


def test_the_kernels_counters_have_names(kernel: Kernel) -> None:
    for number in (0, 2):
        kernel.programs.counters.put(
            layout.COUNTER_KEY.pack(number), layout.COUNTER_VALUE.pack(number + 5)
        )

    assert kernel.store.counters() == {Counter.OWNERS_FULL: 5, Counter.RELEASES_LOST: 7}


def test_a_closed_socket_is_told_of_at_once_and_its_owner_stays_for_its_last_packets(
    kernel: Kernel,
) -> None:
    kernel.socket_of(CURL, KernelImage())
    kernel.close_socket(COOKIE)

    kernel.store.tidy()
    kernel.clock.now_ns += RELEASE_GRACE_NS - 1
    kernel.store.tidy()

    assert kernel.closed == [COOKIE]
    assert kernel.store.socket_user(COOKIE) is not None


def test_the_owner_of_a_socket_that_has_been_closed_for_long_is_removed(kernel: Kernel) -> None:
    for cookie in (COOKIE, COOKIE + 1, COOKIE + 2):
        kernel.has_socket(cookie, KernelOwner(CURL))
    kernel.close_socket(COOKIE)
    kernel.store.tidy()
    kernel.clock.now_ns += NS_PER_S
    kernel.close_socket(COOKIE + 1)
    kernel.store.tidy()

    kernel.clock.now_ns += RELEASE_GRACE_NS - NS_PER_S
    kernel.store.tidy()

    left = [layout.COOKIE.unpack(key)[0] for key in kernel.programs.owners.keys()]  # noqa: SIM118
    assert left == [COOKIE + 1, COOKIE + 2]


def test_a_closed_socket_that_has_no_entry_any_more_stops_nothing(kernel: Kernel) -> None:
    kernel.has_socket(COOKIE, KernelOwner(CURL))
    for cookie in (1, COOKIE):
        kernel.close_socket(cookie)
    kernel.store.tidy()

    kernel.clock.now_ns += RELEASE_GRACE_NS
    kernel.store.tidy()

    assert kernel.closed == [1, COOKIE]
    assert kernel.store.socket_user(COOKIE) is None


def test_a_sweep_keeps_what_a_socket_needs_however_long_ago_it_was_used(kernel: Kernel) -> None:
    kernel.has_image(INIT, KernelImage(last_used_ns=1))
    kernel.has_image(SHELL, KernelImage(last_used_ns=1, parent=INIT))
    kernel.socket_of(CURL, KernelImage(last_used_ns=1, parent=SHELL))

    kernel.sweep()

    assert set(kernel.programs.images.keys()) == {CURL, SHELL, INIT}


def test_a_sweep_keeps_what_was_used_a_moment_ago_though_no_socket_needs_it(
    kernel: Kernel,
) -> None:
    kernel.has_image(CURL, KernelImage(last_used_ns=kernel.clock.now_ns - IMAGE_IDLE_NS))

    kernel.sweep()

    assert set(kernel.programs.images.keys()) == {CURL}


def test_a_sweep_removes_what_nothing_needs_and_nobody_used_for_long(kernel: Kernel) -> None:
    idle = kernel.clock.now_ns - IMAGE_IDLE_NS - 1
    kernel.has_image(SHELL, KernelImage(last_used_ns=idle))
    kernel.socket_of(CURL, KernelImage(last_used_ns=idle))

    kernel.sweep()

    assert set(kernel.programs.images.keys()) == {CURL}


def test_an_image_that_was_swept_away_is_not_remembered(kernel: Kernel) -> None:
    kernel.socket_of(CURL, KernelImage())
    kernel.programs.owners.remove(layout.COOKIE.pack(COOKIE))
    kernel.clock.now_ns += IMAGE_IDLE_NS + 1
    kernel.sweep()

    found = kernel.socket_of(CURL, KernelImage(exe=b"/usr/bin/wget"))

    assert found.exe.path == "/usr/bin/wget"


def test_a_sweep_goes_in_small_steps(kernel: Kernel) -> None:
    for pid in range(1, 21):
        kernel.has_image(image_key(pid), KernelImage())
        kernel.has_socket(pid, KernelOwner(image_key(pid)))

    steps = sum(1 for _ in kernel.store.sweep_images())

    assert steps == 60  # each owner, each image that one needs, each image


def test_the_ring_buffer_is_the_one_that_is_polled_and_closed(kernel: Kernel) -> None:
    (ring,) = kernel.programs.rings
    assert kernel.store.fileno() == ring.fileno()

    kernel.store.close()

    assert ring.closed
