"""Captures as files: each link in both formats, compressed, cut off, or not captures at all."""

from __future__ import annotations

import gzip
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.l2 import ARP, CookedLinux, Dot1Q, Ether
from scapy.packet import Packet, Raw
from scapy.utils import PcapNgWriter, PcapWriter

from nfsnitch.lab.replay.capture_files import frames
from nfsnitch.lab.replay.case import BadInputError
from nfsnitch.lab.replay.notes import Notes
from replay_play import ALLOW, CLIENT, SERVER, START_S, WEB, Play, ethernet, segment


@pytest.fixture(name="replay")
def fixture_replay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Play:
    return Play(tmp_path, capsys)


def links() -> list[tuple[int, Packet]]:
    syn = segment("S")
    return [
        (1, ethernet(syn)),
        (1, Ether() / Dot1Q(vlan=7) / syn),
        (101, syn),
        (228, syn),
        (0, Raw(b"\2\0\0\0" + bytes(syn))),
        (108, Raw(b"\0\0\0\2" + bytes(syn))),
        (113, CookedLinux(pkttype=4, proto=0x0800) / syn),
        (276, Raw(struct.pack("!HHIHBB8s", 0x0800, 0, 2, 1, 4, 6, bytes(8)) + bytes(syn))),
    ]


@pytest.mark.parametrize(("link", "frame"), links())
@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_every_link_is_read_in_both_formats(
    replay: Play, link: int, frame: Packet, kind: str
) -> None:
    path = replay.folder / f"x.{kind}"
    if kind == "pcap":
        writer = PcapWriter(str(path))
        writer.linktype = link
        writer.write_header(None)
        writer.write_packet(bytes(frame), sec=START_S, usec=5)
        writer.close()
    else:
        ng = PcapNgWriter(str(path))
        ng.write_header(None)
        ng._write_packet(  # noqa: SLF001  there is no public way to say the link
            bytes(frame), linktype=link, sec=START_S, usec=5, ifname=b"eth7"
        )
        ng.close()
    (found,) = frames(path, Notes())
    assert found.packet[:40] == bytes(segment("S"))
    assert found.wall_ns // 10**9 == START_S
    assert found.iface == (None if kind == "pcap" else "eth7")


def test_what_is_not_ip_and_links_that_are_not_known_are_counted(replay: Play) -> None:
    path = replay.capture([Ether() / ARP(), segment("S")])
    document = replay.document(path, "--rules", replay.rules(ALLOW))
    assert document["read"] == {"packets": 2, "frames that are not IP": 1}
    odd = replay.folder / "odd.pcap"
    writer = PcapWriter(str(odd), linktype=147)
    writer.write_header(None)
    writer.write_packet(b"x", sec=1, usec=1)
    writer.close()
    assert replay.document(odd, "--rules", replay.rules(ALLOW))["problems"] == [
        f"{odd}: link type 147 is not known here"
    ]


def test_a_compressed_capture_is_read_as_well(replay: Play) -> None:
    path = replay.capture([segment("S")])
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert replay.told(path, "--rules", replay.rules(ALLOW)) == [WEB]


@pytest.mark.parametrize("missing", [1, 30, 60])
def test_a_capture_that_is_cut_off_is_replayed_as_far_as_it_goes(
    replay: Play, missing: int
) -> None:
    path = replay.capture([segment("S"), segment("S", sport=9)])
    path.write_bytes(path.read_bytes()[:-missing])
    document = replay.document(path, "--rules", replay.rules(ALLOW), "--client", CLIENT)
    assert replay.status == 0
    assert [row["daddr"] for row in document["rows"]][:1] == [SERVER]
    assert document["problems"] == [f"{path}: it is cut off, and its last packet not whole"]


def test_a_compressed_capture_that_is_cut_off_is_told_of(replay: Play) -> None:
    path = replay.capture([segment("S", sport) for sport in range(1, 500)])
    packed = gzip.compress(path.read_bytes())
    path.write_bytes(packed[: len(packed) // 2])
    document = replay.document(path, "--rules", replay.rules(ALLOW), "--client", CLIENT)
    assert document["flows"] > 1
    assert document["problems"] == [f"{path}: it is cut off, and its last packet not whole"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    magic=st.sampled_from(["d4c3b2a1", "a1b23c4d", "0a0d0d0a"]),
    rest=st.binary(max_size=300),
)
def test_whatever_follows_a_capture_s_first_bytes_is_read_or_refused(
    tmp_path: Path, magic: str, rest: bytes
) -> None:
    path = tmp_path / "any.pcap"
    path.write_bytes(bytes.fromhex(magic) + rest)
    try:
        found = list(frames(path, Notes()))
    except BadInputError as problem:
        assert str(problem).startswith(str(path))  # noqa: PT017
    else:
        assert len(found) <= len(rest)


def test_without_scapy_it_is_said_what_is_missing(
    replay: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = replay.capture([segment("S")])
    monkeypatch.setitem(sys.modules, "scapy.utils", None)
    assert replay.said(path, "--rules", replay.rules(ALLOW)) == ""
    assert replay.status == 2
    assert "nfsnitch[lab]" in replay.said_wrong
