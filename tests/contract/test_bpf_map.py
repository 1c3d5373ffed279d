"""What a map of sockets to owners promises: the kernel's and the fake one alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from fakes import FakeMap
from nfsnitch.adapters.bpf.layout import SIZES
from nfsnitch.adapters.bpf.modes import attached
from nfsnitch.resources import bpf_object

KEY_BYTES, VALUE_BYTES = SIZES["ports"]
ONE, OTHER = b"\1" * KEY_BYTES, b"\2" * KEY_BYTES
VALUE, CHANGED = b"v" * VALUE_BYTES, b"w" * VALUE_BYTES


class SomeMap(Protocol):
    """What both have."""

    def get(self, key: bytes) -> bytes | None: ...
    def put(self, key: bytes, value: bytes) -> None: ...
    def remove(self, key: bytes) -> bool: ...
    def remove_all(self, keys: Sequence[bytes]) -> None: ...
    def keys(self) -> Iterator[bytes]: ...
    def batches(self, size: int) -> Iterator[list[tuple[bytes, bytes]]]: ...


@pytest.fixture(params=["fake", pytest.param("kernel", marks=[pytest.mark.root, pytest.mark.bpf])])
def some_map(request: pytest.FixtureRequest, own_cgroup: Path) -> Iterator[SomeMap]:
    if request.param == "fake":
        yield FakeMap(KEY_BYTES, VALUE_BYTES)
        return
    with attached(bpf_object(), own_cgroup) as programs:
        yield programs.ports


def test_what_was_put_is_found_and_what_was_not_is_none(some_map: SomeMap) -> None:
    some_map.put(ONE, VALUE)

    assert some_map.get(ONE) == VALUE
    assert some_map.get(OTHER) is None


def test_putting_again_replaces(some_map: SomeMap) -> None:
    some_map.put(ONE, VALUE)
    some_map.put(ONE, CHANGED)

    assert some_map.get(ONE) == CHANGED
    assert list(some_map.keys()) == [ONE]


def test_many_are_removed_together_and_those_that_are_not_there_do_not_matter(
    some_map: SomeMap,
) -> None:
    keys = [bytes([number]) * KEY_BYTES for number in range(1, 20)]
    for key in keys[::3]:
        some_map.put(key, VALUE)
    kept = b"\xff" * KEY_BYTES
    some_map.put(kept, VALUE)

    some_map.remove_all(keys)
    some_map.remove_all([])

    assert list(some_map.keys()) == [kept]


def test_removing_says_whether_there_was_something(some_map: SomeMap) -> None:
    some_map.put(ONE, VALUE)

    assert some_map.remove(ONE)
    assert not some_map.remove(ONE)
    assert some_map.get(ONE) is None


def test_keys_are_all_there_and_may_be_removed_on_the_way(some_map: SomeMap) -> None:
    numbers = {number.to_bytes(KEY_BYTES, "big") for number in range(1, 101)}
    for key in numbers:
        some_map.put(key, VALUE)

    assert set(some_map.keys()) == numbers
    for key in list(some_map.keys()):
        some_map.remove(key)
    assert list(some_map.keys()) == []


@pytest.mark.parametrize("size", [1, 32, 1_000])
def test_what_stays_is_in_exactly_one_batch_though_others_go_meanwhile(
    some_map: SomeMap, size: int
) -> None:
    stay = {number.to_bytes(KEY_BYTES, "big") for number in range(1, 401)}
    go = {number.to_bytes(KEY_BYTES, "big") for number in range(401, 801)}
    for key in stay | go:
        some_map.put(key, VALUE)

    seen: list[bytes] = []
    for batch in some_map.batches(size):
        assert all(value == VALUE for _, value in batch)
        seen += [key for key, _ in batch]
        for key, _ in batch:
            if key in go:
                some_map.remove(key)

    assert sorted(key for key in seen if key in stay) == sorted(stay)


def test_an_empty_map_has_no_entries_in_its_batches(some_map: SomeMap) -> None:
    assert [entry for batch in some_map.batches(8) for entry in batch] == []


def test_a_key_or_value_of_another_size_is_refused(some_map: SomeMap) -> None:
    with pytest.raises(ValueError, match="fit this map"):
        some_map.put(ONE + b"x", VALUE)
    with pytest.raises(ValueError, match="fit this map"):
        some_map.put(ONE, VALUE[1:])
