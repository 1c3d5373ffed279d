"""First data as programs send it: ClientHellos of TLS, and QUIC built by the RFC, for tests."""

from __future__ import annotations

import ssl

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

V1, V2 = 1, 0x6B3343CF
_SALTS = {
    V1: bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"),
    V2: bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9"),
}
DCID = bytes.fromhex("8394c8f03e515708")


def tls_hello(name: str | None = "server.example") -> bytes:
    """Return the first data of a TLS connection as OpenSSL sends it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = context.wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        connection.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake without a server")


def hello_message(name: str | None = "server.example", extra: bytes = b"") -> bytes:
    """Return a ClientHello without records; *extra* are more extensions, whole."""
    message = tls_hello(name)[5:]
    if not extra:
        return message
    # The extensions are the last vector: both lengths that count them grow.
    at = 4 + 34
    at += 1 + message[at]
    at += 2 + int.from_bytes(message[at : at + 2], "big")
    at += 1 + message[at]
    size = int.from_bytes(message[at : at + 2], "big") + len(extra)
    body = message[4:at] + size.to_bytes(2, "big") + message[at + 2 :] + extra
    return message[:1] + len(body).to_bytes(3, "big") + body


def extension(kind: int, content: bytes) -> bytes:
    """Return a TLS extension."""
    return kind.to_bytes(2, "big") + len(content).to_bytes(2, "big") + content


def server_name(*names: bytes) -> bytes:
    """Return the extension that names the server."""
    entries = b"".join(b"\0" + len(each).to_bytes(2, "big") + each for each in names)
    return extension(0, len(entries).to_bytes(2, "big") + entries)


def records(message: bytes, size: int = 16_384) -> bytes:
    """Return a handshake message in records of at most *size* bytes."""
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + len(each).to_bytes(2, "big") + each for each in parts)


def crypto(message: bytes, start: int = 0, end: int | None = None) -> bytes:
    """Return a CRYPTO frame with a part of the handshake."""
    part = message[start:end]
    return b"\x06" + varint(start) + varint(len(part)) + part


def varint(number: int) -> bytes:
    """Return a QUIC integer of two bytes."""
    return (number | 0x4000).to_bytes(2, "big")


def initial(
    frames: bytes,
    number: int = 0,
    *,
    version: int = V1,
    dcid: bytes = DCID,
    keys_of: bytes | None = None,
    size: int = 1_200,
    token: bytes = b"",
) -> bytes:
    """Return an Initial packet of a client, padded to *size* bytes (RFC 9001, 5; RFC 9369)."""
    key, iv, header_key = _keys(version, keys_of or dcid)
    first = (0xC0 if version == V1 else 0xD0) | 3
    head = bytes((first,)) + version.to_bytes(4, "big") + bytes((len(dcid),)) + dcid + b"\0"
    head += bytes((len(token),)) + token
    padded = frames.ljust(size - len(head) - 2 - 4 - 16, b"\0")
    head += varint(4 + len(padded) + 16) + number.to_bytes(4, "big")
    nonce = bytes(a ^ b for a, b in zip(iv, number.to_bytes(12, "big"), strict=True))
    sealed = AESGCM(key).encrypt(nonce, padded, head)
    encryptor = Cipher(algorithms.AES(header_key), modes.ECB()).encryptor()  # noqa: S305  RFC 9001
    mask = encryptor.update(sealed[:16])
    protected = bytes(a ^ b for a, b in zip(head[-4:], mask[1:5], strict=True))
    return bytes((head[0] ^ (mask[0] & 0x0F),)) + head[1:-4] + protected + sealed


def _keys(version: int, dcid: bytes) -> tuple[bytes, bytes, bytes]:
    extract = HMAC(_SALTS[version], hashes.SHA256())
    extract.update(dcid)
    client = _expanded(extract.finalize(), b"client in", 32)
    name = b"quic" if version == V1 else b"quicv2"
    key, iv, header_key = (
        _expanded(client, name + what, size)
        for what, size in ((b" key", 16), (b" iv", 12), (b" hp", 16))
    )
    return key, iv, header_key


def _expanded(secret: bytes, label: bytes, size: int) -> bytes:
    full = b"tls13 " + label
    info = size.to_bytes(2, "big") + bytes((len(full),)) + full + b"\0"
    return HKDFExpand(hashes.SHA256(), size, info).derive(secret)
