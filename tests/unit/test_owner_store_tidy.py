"""What is removed from eBPF's maps, and when: owners of closed sockets, and idle images."""

from __future__ import annotations

import pytest

from builders import NS_PER_S, KernelImage, KernelOwner, image_key
from fakes import FakeOwners
from nfsnitch.adapters.bpf import layout, owners
from nfsnitch.adapters.bpf.owners import (
    CROWDED_IDLE_NS,
    HEARD_AT_ONCE,
    IMAGE_IDLE_NS,
    RELEASE_GRACE_NS,
)

COOKIE = FakeOwners.COOKIE
CURL, SHELL, INIT = image_key(300), image_key(200), image_key(1)
LATE_NS = 1_000_000
"""How long after its close a socket's last packet may still come."""
NEVER_EMPTY = 0


@pytest.fixture(name="kernel")
def fixture_kernel() -> FakeOwners:
    return FakeOwners()


def test_a_closed_socket_is_told_of_at_once_and_its_owner_stays_for_its_last_packets(
    kernel: FakeOwners,
) -> None:
    kernel.has_socket(COOKIE, KernelOwner(CURL))
    kernel.programs.close_socket(COOKIE)

    kernel.store.tidy(NEVER_EMPTY)
    kernel.clock.now_ns += RELEASE_GRACE_NS - 1
    kernel.store.tidy(NEVER_EMPTY)

    assert kernel.closed == [COOKIE]
    assert kernel.sockets == [COOKIE]


def test_the_owner_of_a_socket_that_has_been_closed_for_long_is_removed(
    kernel: FakeOwners,
) -> None:
    for cookie in (COOKIE, COOKIE + 1, COOKIE + 2):
        kernel.has_socket(cookie, KernelOwner(CURL))
    kernel.programs.close_socket(COOKIE)
    kernel.store.tidy(NEVER_EMPTY)
    kernel.clock.now_ns += NS_PER_S
    kernel.programs.close_socket(COOKIE + 1)
    kernel.store.tidy(NEVER_EMPTY)

    kernel.clock.now_ns += RELEASE_GRACE_NS - NS_PER_S
    kernel.store.tidy(NEVER_EMPTY)

    assert kernel.sockets == [COOKIE + 1, COOKIE + 2]


@pytest.mark.parametrize(("after_close_ns", "stays"), [(LATE_NS - 1, True), (LATE_NS, False)])
def test_the_owner_of_a_closed_socket_is_removed_once_the_queue_has_been_seen_empty(
    kernel: FakeOwners,
    after_close_ns: int,
    *,
    stays: bool,
) -> None:
    kernel.has_socket(COOKIE, KernelOwner(CURL))
    closed_ns = kernel.clock.now_ns
    kernel.programs.close_socket(COOKIE)
    kernel.store.tidy(NEVER_EMPTY)
    kernel.clock.now_ns += NS_PER_S

    kernel.store.tidy(closed_ns + after_close_ns)

    assert (kernel.sockets == [COOKIE]) == stays


def test_a_close_that_was_heard_of_after_the_queue_was_empty_may_have_been_after_it(
    kernel: FakeOwners,
) -> None:
    kernel.has_socket(COOKIE, KernelOwner(CURL))
    kernel.programs.close_socket(COOKIE)
    emptied_ns = kernel.clock.now_ns
    kernel.clock.now_ns += 1

    kernel.store.tidy(emptied_ns)

    assert kernel.sockets == [COOKIE]


def test_of_very_many_closed_sockets_the_owners_of_the_latest_stay(
    kernel: FakeOwners, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owners, "MAX_RELEASED", 2)
    for cookie in range(1, 6):
        kernel.has_socket(cookie, KernelOwner(CURL))
    for cookie in range(1, 5):
        kernel.programs.close_socket(cookie)

    kernel.store.tidy(NEVER_EMPTY)

    assert kernel.closed == [1, 2, 3, 4]
    assert kernel.sockets == [3, 4, 5]


def test_after_so_many_closed_sockets_others_have_their_turn_and_the_rest_is_still_to_come(
    kernel: FakeOwners,
) -> None:
    for cookie in range(1, HEARD_AT_ONCE + 2):
        kernel.programs.close_socket(cookie)

    assert kernel.store.tidy(NEVER_EMPTY)
    assert len(kernel.closed) == HEARD_AT_ONCE
    assert not kernel.store.tidy(NEVER_EMPTY)
    assert len(kernel.closed) == HEARD_AT_ONCE + 1


def test_a_closed_socket_that_has_no_entry_any_more_stops_nothing(kernel: FakeOwners) -> None:
    kernel.has_socket(COOKIE, KernelOwner(CURL))
    for cookie in (1, COOKIE):
        kernel.programs.close_socket(cookie)
    kernel.store.tidy(NEVER_EMPTY)

    kernel.clock.now_ns += RELEASE_GRACE_NS
    kernel.store.tidy(NEVER_EMPTY)

    assert kernel.closed == [1, COOKIE]
    assert kernel.sockets == []


def test_a_sweep_keeps_what_a_socket_needs_however_long_ago_it_was_used(kernel: FakeOwners) -> None:
    kernel.has_image(INIT, KernelImage(last_used_ns=1))
    kernel.has_image(SHELL, KernelImage(last_used_ns=1, parent=INIT))
    kernel.socket_of(CURL, KernelImage(last_used_ns=1, parent=SHELL))

    kernel.sweep()

    assert set(kernel.programs.images.keys()) == {CURL, SHELL, INIT}


def test_a_sweep_keeps_who_made_a_socket_that_another_process_uses(kernel: FakeOwners) -> None:
    kernel.has_image(SHELL, KernelImage(last_used_ns=1))
    kernel.has_image(CURL, KernelImage(last_used_ns=1))
    kernel.has_socket(COOKIE, KernelOwner(CURL, opener=SHELL))

    kernel.sweep()

    assert set(kernel.programs.images.keys()) == {CURL, SHELL}


def test_a_sweep_keeps_what_was_used_a_moment_ago_though_no_socket_needs_it(
    kernel: FakeOwners,
) -> None:
    kernel.has_image(CURL, KernelImage(last_used_ns=kernel.clock.now_ns - IMAGE_IDLE_NS))

    kernel.sweep()

    assert set(kernel.programs.images.keys()) == {CURL}


def test_a_sweep_removes_what_nothing_needs_and_nobody_used_for_long(kernel: FakeOwners) -> None:
    idle = kernel.clock.now_ns - IMAGE_IDLE_NS - 1
    kernel.has_image(SHELL, KernelImage(last_used_ns=idle))
    kernel.socket_of(CURL, KernelImage(last_used_ns=idle))

    kernel.sweep()

    assert set(kernel.programs.images.keys()) == {CURL}


def test_an_image_that_was_swept_away_is_read_anew(kernel: FakeOwners) -> None:
    kernel.socket_of(CURL, KernelImage())
    kernel.programs.owners.remove(layout.COOKIE.pack(COOKIE))
    kernel.clock.now_ns += IMAGE_IDLE_NS + 1
    kernel.sweep()
    kernel.has_image(CURL, KernelImage(exe=b"/usr/bin/wget"))
    kernel.has_socket(COOKIE, KernelOwner(CURL, comm=b"another thread"))

    assert kernel.process().exe.path == "/usr/bin/wget"


def test_a_sweep_goes_in_small_steps(kernel: FakeOwners) -> None:
    for pid in range(1, 1_001):
        kernel.has_image(image_key(pid), KernelImage())
        kernel.has_socket(pid, KernelOwner(image_key(pid)))

    steps = sum(1 for _ in kernel.store.sweep_images())

    assert steps == 16 + 63 + 1_000  # batches of owners, batches of images, each that is needed


def test_a_sweep_keeps_the_ancestors_of_what_was_used_a_moment_ago(kernel: FakeOwners) -> None:
    kernel.has_image(SHELL, KernelImage(last_used_ns=1))
    kernel.has_image(CURL, KernelImage(last_used_ns=kernel.clock.now_ns, parent=SHELL))

    kernel.sweep()

    assert set(kernel.programs.images.keys()) == {CURL, SHELL}


def test_after_many_closed_sockets_what_their_processes_left_goes_sooner(
    kernel: FakeOwners, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owners, "CROWD", 2)
    for number in range(3):
        kernel.has_image(image_key(number + 1), KernelImage(last_used_ns=kernel.clock.now_ns))
        kernel.has_socket(number, KernelOwner(image_key(number + 1)))
        kernel.programs.close_socket(number)
    kernel.clock.now_ns += CROWDED_IDLE_NS + 1
    kernel.store.tidy(queue_empty_ns=kernel.clock.now_ns + LATE_NS)

    crowded = kernel.store.crowded
    kernel.sweep()

    assert crowded
    assert not kernel.store.crowded
    assert set(kernel.programs.images.keys()) == set()


def test_what_was_closed_when_nobody_was_there_is_removed_after_a_takeover(
    kernel: FakeOwners,
) -> None:
    kernel.has_socket(COOKIE, KernelOwner(CURL, released_ns=1))
    kernel.has_socket(COOKIE + 1, KernelOwner(CURL))

    kernel.store.take_over()
    kernel.store.tidy(NEVER_EMPTY)
    before = kernel.sockets
    kernel.clock.now_ns += RELEASE_GRACE_NS
    kernel.store.tidy(NEVER_EMPTY)

    assert (sorted(before), kernel.sockets) == ([COOKIE, COOKIE + 1], [COOKIE + 1])
    assert kernel.closed == []


def test_the_store_is_stirred_by_whoever_asks_and_by_sockets_that_are_closed_and_settled_by_a_sweep(
    kernel: FakeOwners,
) -> None:
    def stirred() -> bool:
        return kernel.store.is_stirred

    assert stirred()
    kernel.sweep()
    assert not stirred()
    kernel.store.socket_user(1)
    assert stirred()
    kernel.sweep()
    kernel.store.tidy(NEVER_EMPTY)
    assert not stirred()
    kernel.programs.close_socket(7)
    kernel.store.tidy(NEVER_EMPTY)
    assert stirred()
    assert kernel.store.heard == 1
