"""The server's name in the Initial packets of a QUIC connection (RFC 9000, 9001, 9369).

Initial packets are encrypted with keys that follow from what is written on them, so that whoever
sees the first one can read it. Packets that do not authenticate are passed by, as a server does:
else a program could show one name here, in a packet that is broken, and another one to the server.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple, Protocol

from nfsnitch.core.client_hello import read_client_hello
from nfsnitch.core.name import NameSource
from nfsnitch.core.server_name import INCOMPLETE, MAX_BYTES, Nothing, Reading


class Cipher(Protocol):
    """AES-128 and HMAC-SHA-256. Returns None where it cannot be had."""

    def mask(self, key: bytes, sample: bytes) -> bytes | None:
        """Return one block encrypted (ECB)."""

    def opened(self, key: bytes, nonce: bytes, header: bytes, sealed: bytes) -> bytes | None:
        """Return what AES-128-GCM has sealed; None: it does not authenticate."""

    def hmac(self, key: bytes, message: bytes) -> bytes | None:
        """Return the HMAC with SHA-256."""


class _Version(NamedTuple):
    initial: int
    """The type of an Initial packet in its first byte."""
    salt: bytes
    label: bytes


_VERSIONS = {
    0x00000001: _Version(0, bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"), b"quic"),
    0x6B3343CF: _Version(1, bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9"), b"quicv2"),
}
"""RFC 9001, 5.2; RFC 9369, 3."""

_LONG_HEADER = 0x80
_LONG = Struct("!B I B")
_MAX_ID_BYTES = 20
_SAMPLE_BYTES, _SAMPLE_AT = 16, 4
_TAG_BYTES = 16
_MAX_PACKETS = 16
"""Of one datagram, and of one segment-offloaded train of them."""
_MAX_PIECES = 256

_PADDING, _PING, _ACK, _ACK_ECN, _CRYPTO = 0, 1, 2, 3, 6

_NOT_QUIC = Nothing("its first data is not QUIC")
_UNREADABLE = Nothing("its QUIC Initial packet cannot be read")


class _Keys(NamedTuple):
    key: bytes
    iv: bytes
    header: bytes


class _Packet(NamedTuple):
    """A long-header packet, as far as it can be read without keys."""

    version: _Version
    dcid: bytes
    is_initial: bool
    start: int
    number_at: int
    end: int


class _BrokenError(Exception):
    """Inside this module alone: it is no QUIC, or ends too early."""


class InitialReader:
    """Reads the Initial packets of one flow; they may come in several datagrams."""

    def __init__(self, cipher: Cipher) -> None:
        """Decrypt with *cipher*."""
        self._cipher = cipher
        self._keys: dict[bytes, _Keys] = {}
        """By the destination connection ID: the first one's, and that of the moment."""
        self._pieces: dict[int, bytes] = {}
        """Of the CRYPTO stream, by offset."""
        self.bytes = 0
        """Of `_pieces`."""
        self._was_read = False
        self._contradicts = False
        self.connection: bytes | None = None
        """The ID by which the client began it; None: no packet was read that begins one."""

    def add(self, datagram: bytes) -> Reading:
        """Return what is known with one more datagram; never raises."""
        try:
            self._add(datagram)
        except _BrokenError:
            if not self._was_read:
                return _NOT_QUIC
        if not self._was_read:
            return _UNREADABLE
        return self._reading()

    def _add(self, datagram: bytes) -> None:
        at = 0
        for _ in range(_MAX_PACKETS):
            # Some fill datagrams up with zeros behind the packets.
            while at and at < len(datagram) and not datagram[at]:
                at += 1
            if at and (at == len(datagram) or not datagram[at] & _LONG_HEADER):
                return
            packet = _packet(datagram, at)
            if packet.is_initial:
                self._open(datagram, packet)
            at = packet.end

    def _open(self, datagram: bytes, packet: _Packet) -> None:
        for keys in self._keys_for(packet):
            frames = self._opened(datagram, packet, keys)
            if frames is not None:
                self._was_read = True
                if self.connection is None and keys is self._keys.get(packet.dcid):
                    self.connection = packet.dcid
                self._take(frames)
                return

    def _keys_for(self, packet: _Packet) -> list[_Keys]:
        if packet.dcid not in self._keys:
            keys = self._derived(packet)
            if keys is None:
                return list(self._keys.values())
            if len(self._keys) > 1:
                del self._keys[list(self._keys)[1]]
            self._keys[packet.dcid] = keys
        # Once the server has chosen an ID of its own, that is used, with the first one's keys.
        own = self._keys[packet.dcid]
        return [own, *(keys for keys in self._keys.values() if keys is not own)]

    def _derived(self, packet: _Packet) -> _Keys | None:
        version, hmac = packet.version, self._cipher.hmac
        initial = hmac(version.salt, packet.dcid)
        client = initial and self._expanded(initial, b"client in", 32)
        if not client:
            return None
        key, iv, header = (
            self._expanded(client, version.label + what, size)
            for what, size in ((b" key", 16), (b" iv", 12), (b" hp", 16))
        )
        return _Keys(key, iv, header)

    def _expanded(self, secret: bytes, label: bytes, size: int) -> bytes:
        """HKDF-Expand-Label of one block (RFC 8446, 7.1)."""
        full = b"tls13 " + label
        info = size.to_bytes(2, "big") + bytes((len(full),)) + full + b"\0\1"
        return (self._cipher.hmac(secret, info) or b"")[:size]

    def _opened(self, datagram: bytes, packet: _Packet, keys: _Keys) -> bytes | None:
        sample_at = packet.number_at + _SAMPLE_AT
        sample = datagram[sample_at : sample_at + _SAMPLE_BYTES]
        if sample_at + _SAMPLE_BYTES > packet.end:
            return None
        mask = self._cipher.mask(keys.header, sample)
        if not mask:
            return None
        first = datagram[packet.start] ^ (mask[0] & 0x0F)
        size = (first & 0x03) + 1
        protected = datagram[packet.number_at : packet.number_at + size]
        number = bytes(a ^ b for a, b in zip(protected, mask[1:], strict=False))
        header = bytes((first,)) + datagram[packet.start + 1 : packet.number_at] + number
        sealed = datagram[packet.number_at + size : packet.end]
        padded = number.rjust(len(keys.iv), b"\0")
        nonce = bytes(a ^ b for a, b in zip(keys.iv, padded, strict=True))
        return self._cipher.opened(keys.key, nonce, header, sealed)

    def _take(self, frames: bytes) -> None:
        at = 0
        while at < len(frames):
            kind = frames[at]
            at += 1
            if kind == _PADDING:
                at = len(frames) - len(frames[at:].lstrip(b"\0"))
                continue
            if kind == _PING:
                continue
            if kind == _CRYPTO:
                at = self._take_crypto(frames, at)
            elif kind in {_ACK, _ACK_ECN}:
                at = _behind_ack(frames, at, with_ecn=kind == _ACK_ECN)
            else:
                return  # CONNECTION_CLOSE, or nothing that may be here (RFC 9000, 12.4)

    def _take_crypto(self, frames: bytes, at: int) -> int:
        offset, at = _varint(frames, at)
        size, at = _varint(frames, at)
        end = at + size
        if end > len(frames) or offset + size > MAX_BYTES:
            raise _BrokenError
        known, piece = self._pieces.get(offset, b""), frames[at:end]
        if known[:size] != piece[: len(known)]:
            self._contradicts = True
        elif len(known) < size:
            self.bytes += size - len(known)
            if len(self._pieces) < _MAX_PIECES and self.bytes <= MAX_BYTES:
                self._pieces[offset] = piece
        return end

    def _reading(self) -> Reading:
        message = bytearray()
        for offset, piece in sorted(self._pieces.items()):
            if offset > len(message):
                break
            overlap = len(message) - offset
            if message[offset:][: len(piece)] != piece[:overlap]:
                self._contradicts = True
            message += piece[overlap:]
        if self._contradicts:
            return Nothing("its QUIC Initial packets contradict each other")
        reading = read_client_hello(bytes(message), NameSource.QUIC)
        is_too_much = self.bytes > MAX_BYTES or len(self._pieces) >= _MAX_PIECES
        return _UNREADABLE if reading is INCOMPLETE and is_too_much else reading


def connection_begun(datagram: bytes, cipher: Cipher) -> bytes | None:
    """Return the ID by which a datagram begins a connection; None: it begins none.

    Later packets of that connection are for an ID that the server has chosen, and have the keys of
    this one (RFC 9001, 5.2).
    """
    reader = InitialReader(cipher)
    reader.add(datagram)
    return reader.connection


def _packet(datagram: bytes, start: int) -> _Packet:
    """Read the long header (RFC 9000, 17.2) at *start*."""
    if start + _LONG.size > len(datagram):
        raise _BrokenError
    first, number, id_bytes = _LONG.unpack_from(datagram, start)
    version = _VERSIONS.get(number) if first & _LONG_HEADER else None
    if version is None or id_bytes > _MAX_ID_BYTES:
        raise _BrokenError
    at = start + _LONG.size
    dcid = datagram[at : at + id_bytes]
    at += id_bytes
    if at >= len(datagram) or datagram[at] > _MAX_ID_BYTES:
        raise _BrokenError
    at += 1 + datagram[at]
    is_initial = first >> 4 & 0x03 == version.initial
    if is_initial:
        token_bytes, at = _varint(datagram, at)
        at += token_bytes
    elif first >> 4 & 0x03 == (version.initial + 3) % 4:
        raise _BrokenError  # a Retry, which clients do not send and which has no length
    size, at = _varint(datagram, at)
    if at + size > len(datagram):
        raise _BrokenError
    return _Packet(version, dcid, is_initial, start, at, at + size)


def _behind_ack(frames: bytes, at: int, *, with_ecn: bool) -> int:
    """Return where an ACK frame ends (RFC 9000, 19.3)."""
    _largest, at = _varint(frames, at)
    _delay, at = _varint(frames, at)
    ranges, at = _varint(frames, at)
    for _ in range(1 + 2 * ranges + (3 if with_ecn else 0)):
        _, at = _varint(frames, at)
    return at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the variable-length integer at *at* (RFC 9000, 16), and where it ends."""
    if at >= len(data):
        raise _BrokenError
    size = 1 << (data[at] >> 6)
    if at + size > len(data):
        raise _BrokenError
    raw = int.from_bytes(data[at : at + size], "big")
    return raw & ((1 << (8 * size - 2)) - 1), at + size
