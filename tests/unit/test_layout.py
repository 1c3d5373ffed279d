"""The maps' keys and values: byte for byte what bpf/layout.h says, and read back as they were."""

from __future__ import annotations

import re
from enum import IntFlag
from pathlib import Path
from struct import Struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import COMPLETE, KernelImage, KernelOwner, flow, image_key
from nfsnitch.adapters.bpf import layout
from nfsnitch.adapters.bpf.layout import (
    DnsFlag,
    FlowClaim,
    Image,
    ImageFlag,
    ImageKey,
    OwnerEntry,
    OwnerFlag,
)
from nfsnitch.core.counters import Counter
from nfsnitch.core.flow import packed_address
from nfsnitch.core.text import decoded, encoded
from nfsnitch.core.unknown import Unknown

HEADER = (Path(__file__).parents[2] / "bpf" / "layout.h").read_text("utf-8")
U64 = st.integers(0, 2**64 - 1)
U32 = st.integers(0, 2**32 - 1)
PATH_NAMES = st.binary(min_size=1, max_size=40).filter(lambda name: not {0, 47} & set(name))
PATHS = st.lists(PATH_NAMES, max_size=8).map(lambda names: b"/" + b"/".join(names))


def unpacked(image: KernelImage) -> Image:
    return Image.unpacked(image.packed())


@pytest.mark.parametrize(
    ("struct", "ours"),
    [
        ("image_key", layout.IMAGE_KEY),
        ("image", layout.IMAGE),
        ("owner", layout.OWNER),
        ("flow_key", layout.FLOW_KEY),
        ("flow_value", layout.FLOW_VALUE),
        ("crossing_key", layout.CROSSING_KEY),
        ("crossing_value", layout.CROSSING_VALUE),
        ("port_key", layout.PORT_KEY),
        ("port_value", layout.PORT_VALUE),
        ("raw_key", layout.RAW_KEY),
        ("raw_value", layout.RAW_VALUE),
        ("dns_sample", layout.DNS_SAMPLE),
        ("verdict_settings", layout.VERDICT_SETTINGS),
        ("verdict_key", layout.VERDICT_KEY),
        ("verdict", layout.VERDICT),
        ("pass_key", layout.PASS_KEY),
        ("pass", layout.PASS),
        ("cached", layout.CACHED),
        ("libc_sample", layout.LIBC_SAMPLE),
    ],
)
def test_each_struct_has_the_size_that_the_compiler_asserts(struct: str, ours: Struct) -> None:
    asserted = re.search(rf"_Static_assert\(sizeof\(struct {struct}\) == (\d+)", HEADER)

    assert asserted is not None
    assert ours.size == int(asserted[1])


@pytest.mark.parametrize(
    "name",
    [
        *("EXE_BYTES", "CGROUP_BYTES", "ARGS_BYTES", "NAME_BYTES"),
        *("LIBC_NAME_BYTES", "LIBC_ADDRESSES"),
    ],
)
def test_each_length_is_the_headers(name: str) -> None:
    defined = re.search(rf"\b{name} = (\d+),", HEADER)

    assert defined is not None
    assert getattr(layout, name) == int(defined[1])


def test_the_version_is_the_headers() -> None:
    defined = re.search(r"\bLAYOUT_VERSION = (\d+) ", HEADER)

    assert defined is not None
    assert int(defined[1]) == layout.LAYOUT_VERSION


@pytest.mark.parametrize(
    ("prefix", "ours"), [("IMAGE", ImageFlag), ("OWNER", OwnerFlag), ("DNS", DnsFlag)]
)
def test_the_flags_are_the_headers(prefix: str, ours: type[IntFlag]) -> None:
    defined = re.findall(rf"\b{prefix}_(\w+) = 1 << (\d+),", HEADER)

    assert {name: 1 << int(bit) for name, bit in defined} == {
        flag.name: flag.value for flag in ours
    }


def test_the_counters_are_the_headers_in_its_order_and_have_names_in_the_core() -> None:
    defined = re.findall(r"\bCOUNT_(\w+),", HEADER)

    assert [name.lower().replace("_", "-") for name in defined] == list(layout.COUNTERS)
    assert {Counter(name) for name in layout.COUNTERS} == {
        *(Counter.OWNERS_FULL, Counter.IMAGES_FULL, Counter.RELEASES_LOST),
        *(Counter.OPENINGS_LOST, Counter.NAMES_LOST, Counter.NAMES_UNASKED),
        Counter.CACHED_LOST,
    }


def test_each_map_has_the_sizes_of_its_structs() -> None:
    assert layout.SIZES == {
        "owners": (8, 120),
        "images": (32, 3160),
        "flows": (48, 64),
        "crossings": (56, 72),
        "ports": (16, 16),
        "raw_sockets": (16, 24),
        "counters": (4, 8),
        "opening_config": (4, 24),
        "opening_rules": (4, 20),
        "opening_numbers": (16, 4),
        "opening_texts": (180, 4),
        "verdict_config": (4, 16),
        "verdicts": (72, 24),
        "passes": (56, 48),
    }


def test_an_ipv4_flow_is_looked_up_with_its_addresses_in_front_and_zeros_behind() -> None:
    key = layout.flow_key(7, flow(daddr="192.0.2.1", dport=443, sport=40_000))

    cookie, saddr, daddr, *rest = layout.FLOW_KEY.unpack(key)
    assert cookie == 7
    assert saddr == packed_address("192.0.2.2") + bytes(12)
    assert daddr == packed_address("192.0.2.1") + bytes(12)
    assert rest == [40_000, 443, 4, 6, 0]


def test_an_ipv6_flow_is_looked_up_with_whole_addresses() -> None:
    key = layout.flow_key(7, flow(daddr="2001:db8::1", dport=53, sport=1)._replace(proto=17))

    assert layout.FLOW_KEY.unpack(key) == (
        *(7, packed_address("2001:db8::2"), packed_address("2001:db8::1")),
        *(1, 53, 6, 17, 0),
    )


@pytest.mark.parametrize("daddr", ["192.0.2.1", "2001:db8::1"])
def test_where_routing_chose_the_source_address_only_that_is_left_out(daddr: str) -> None:
    whole = layout.FLOW_KEY.unpack(layout.flow_key(7, flow(daddr)))
    without = layout.FLOW_KEY.unpack(layout.flow_key(7, flow(daddr), any_saddr=True))

    assert without == (whole[0], bytes(16), *whole[2:])
    assert whole != without


def test_a_port_and_a_raw_protocol_are_looked_up_with_zeros_for_padding() -> None:
    assert layout.PORT_KEY.unpack(layout.port_key(7, 17, 53)) == (7, 53, 17, 0)
    assert layout.RAW_KEY.unpack(layout.raw_key(7, 17)) == (7, 17, 0)


@given(U64, U64, U64, U32)
def test_an_image_key_is_read_as_it_was_written(
    start_ns: int, exec_id: int, cgroup_id: int, pid: int
) -> None:
    raw = layout.IMAGE_KEY.pack(start_ns, exec_id, cgroup_id, pid, 0)

    assert ImageKey.unpacked(raw) == (start_ns, exec_id, cgroup_id, pid)


@given(
    PATHS, PATHS, st.lists(st.binary(max_size=40).filter(lambda each: 0 not in each), max_size=9)
)
def test_every_byte_of_an_images_texts_is_read_and_none_beside_them(
    exe: bytes, cgroup: bytes, args: list[bytes]
) -> None:
    image = unpacked(
        KernelImage(exe=exe, cgroup=cgroup, args=b"".join(each + b"\0" for each in args))
    )

    assert isinstance(image.exe, str)
    assert isinstance(image.cgroup, str)
    assert isinstance(image.args, tuple)
    assert encoded(image.exe) == exe
    assert encoded(image.cgroup) == cgroup
    assert [encoded(each) for each in image.args] == args


@given(U64, U64, U64, U32, st.integers(0, 2**12 - 1), st.integers(0, 2**20 - 1))
def test_an_images_numbers_are_read_as_they_were_written(
    start_ns: int, used_ns: int, inode: int, mntns: int, major: int, minor: int
) -> None:
    parent = image_key(5, start_ns)

    image = unpacked(
        KernelImage(
            parent=parent,
            last_used_ns=used_ns,
            exe_inode=inode,
            exe_device=major << 20 | minor,
            mntns=mntns,
        )
    )

    assert (image.parent, image.last_used_ns, image.exe_inode) == (parent, used_ns, inode)
    assert image.mntns == mntns
    # makedev(3): 8 bits of the minor number, 12 of the major, then the rest of the minor one.
    assert image.exe_device == minor & 0xFF | major << 8 | (minor >> 8) << 20


def test_a_cgroup_of_no_name_is_the_root() -> None:
    assert unpacked(KernelImage(cgroup=b"")).cgroup == "/"


def test_texts_that_fill_their_buffers_are_read_whole() -> None:
    image = unpacked(KernelImage(exe=b"/" * 1024, cgroup=b"/" * 512, args=b"a" * 1024))

    assert (image.exe, image.cgroup, image.args) == ("/" * 1024, "/" * 512, ("a" * 1024,))


@pytest.mark.parametrize(
    ("flag", "field", "reason"),
    [
        (ImageFlag.EXE_KNOWN, "exe", "has no executable"),
        (ImageFlag.EXE_KNOWN, "exe_device", "has no executable"),
        (ImageFlag.EXE_KNOWN, "exe_inode", "has no executable"),
        (ImageFlag.ARGS_KNOWN, "args", "could not be read"),
        (ImageFlag.CGROUP_KNOWN, "cgroup", "no cgroup v2"),
    ],
)
def test_what_the_kernel_did_not_know_is_unknown_though_bytes_are_there(
    flag: ImageFlag, field: str, reason: str
) -> None:
    value = getattr(unpacked(KernelImage(flags=COMPLETE & ~flag)), field)

    assert isinstance(value, Unknown)
    assert reason in value.reason


@pytest.mark.parametrize(
    ("flag", "field", "reason"),
    [
        (ImageFlag.EXE_TRUNCATED, "exe", "longer than 1024 bytes"),
        (ImageFlag.CGROUP_TRUNCATED, "cgroup", "longer than 512 bytes"),
        (ImageFlag.ARGS_TRUNCATED, "args", "longer than 1024 bytes"),
        (ImageFlag.TORN, "exe", "replacing itself"),
    ],
)
def test_a_text_of_which_a_part_is_missing_is_not_given_out(
    flag: ImageFlag, field: str, reason: str
) -> None:
    value = getattr(unpacked(KernelImage(flags=COMPLETE | flag)), field)

    assert isinstance(value, Unknown)
    assert reason in value.reason


@pytest.mark.parametrize("flag", list(ImageFlag))
def test_an_image_is_deleted_settled_and_complete_by_the_flags_that_mean_it(
    flag: ImageFlag,
) -> None:
    lacking = unpacked(KernelImage(flags=COMPLETE & ~flag))
    having = unpacked(KernelImage(flags=COMPLETE | flag))

    assert having.exe_deleted == (flag is ImageFlag.EXE_DELETED)
    assert having.settled
    assert lacking.settled == (flag is not ImageFlag.READY)
    needed = ImageFlag.READY | ImageFlag.EXE_KNOWN | ImageFlag.ARGS_KNOWN
    assert lacking.complete == (flag not in needed)
    spoilt = ImageFlag.TORN | ImageFlag.EXE_TRUNCATED | ImageFlag.ARGS_TRUNCATED
    assert having.complete == (flag not in spoilt)


@given(U64, U64, U32, U32, st.binary(max_size=16))
def test_an_owner_is_read_as_it_was_written(
    created_ns: int, released_ns: int, uid: int, gid: int, comm: bytes
) -> None:
    key = image_key(41)

    flags = OwnerFlag.SHARES_PORT
    owner = KernelOwner(key, created_ns, released_ns, uid, gid, comm, flags, image_key(40))
    entry = OwnerEntry.unpacked(owner.packed())

    assert entry[:-2] == (key, created_ns, released_ns, 42, uid, gid, 4_026_531_840, 2)
    assert entry.comm == comm.ljust(16, b"\0")
    assert entry.opener == image_key(40)


@given(U64, U64, U64, st.lists(st.integers(1, 2**64 - 1), max_size=4))
def test_a_claim_names_those_before_and_nobody_where_there_was_nobody(
    cookie: int, since_ns: int, previous_ns: int, previous: list[int]
) -> None:
    places = [*previous, *[0] * (4 - len(previous))]

    claim = FlowClaim.unpacked(layout.FLOW_VALUE.pack(cookie, since_ns, 7, previous_ns, *places))

    assert claim == (cookie, since_ns, previous_ns, tuple(previous))


@pytest.mark.parametrize(
    ("raw", "arguments"),
    [
        (b"", ()),
        (b"\0", ("",)),
        (b"a\0", ("a",)),
        (b"a\0\0", ("a", "")),
        (b"a\0b", ("a", "b")),
        (b"\xff\0", (decoded(b"\xff"),)),
    ],
)
def test_arguments_end_with_a_nul_each_and_may_be_empty(
    raw: bytes, arguments: tuple[str, ...]
) -> None:
    assert layout.split_args(raw) == arguments
