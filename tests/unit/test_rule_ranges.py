"""Sets of ports and addresses against plain enumeration."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from nfsnitch.core.flow import Family, packed_address
from nfsnitch.core.ranges import (
    ADDRESS_BYTES,
    AddressRange,
    PortRange,
    addresses,
    merged_addresses,
    ports,
)

_ends = st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted)
_address_range = st.builds(
    lambda family, ends: AddressRange(family, *ends), st.sampled_from(Family), _ends
)


@given(st.lists(_ends.map(lambda ends: PortRange(*ends))))
def test_a_set_of_ports_holds_what_any_of_its_ranges_holds(ranges: list[PortRange]) -> None:
    found = ports(ranges)
    for port in range(42):
        assert (port in found) is any(first <= port <= last for first, last in ranges)


@given(st.lists(_address_range))
def test_a_set_of_addresses_holds_what_any_of_its_ranges_holds(
    ranges: list[AddressRange],
) -> None:
    found = addresses(ranges)
    for family, length in ADDRESS_BYTES.items():
        for number in range(42):
            expected = any(
                each is family and first <= number <= last for each, first, last in ranges
            )
            assert (number.to_bytes(length, "big") in found) is expected


@given(st.lists(_address_range))
def test_merged_ranges_are_apart_from_each_other_and_ascend(ranges: list[AddressRange]) -> None:
    merged = merged_addresses(ranges)
    for one, other in pairwise(merged):
        assert (one.family, one.last + 1) < (other.family, other.first)
    assert addresses(merged) == addresses(ranges)


def test_neighbouring_ranges_become_one() -> None:
    assert ports([PortRange(3, 4), PortRange(1, 2)]).firsts == (1,)


def test_the_ends_of_the_address_space_are_in_the_set_of_everything() -> None:
    found = addresses([AddressRange(Family.IPV6, 0, 2**128 - 1)])
    assert b"\0" * 16 in found
    assert b"\xff" * 16 in found
    assert b"\0" * 4 not in found


def test_a_mapped_address_is_not_the_ipv4_address() -> None:
    number = int.from_bytes(packed_address("192.0.2.1"), "big")
    found = addresses([AddressRange(Family.IPV4, number, number)])
    assert packed_address("192.0.2.1") in found
    assert packed_address("::ffff:192.0.2.1") not in found
    assert found.families == {Family.IPV4}


def test_only_numbers_are_in_ports_and_only_bytes_in_addresses() -> None:
    assert "80" not in ports([PortRange(0, 65535)])
    assert 80 not in addresses([AddressRange(Family.IPV4, 0, 2**32 - 1)])
