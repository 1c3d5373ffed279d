"""What QUIC's Initial packets are encrypted with, by way of OpenSSL's libcrypto (EVP(3)).

The library is loaded when the first such packet is to be read, and takes 4 MB then; the package
`cryptography`, which brings an OpenSSL of its own along, takes 15 MB.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Iterator
from contextlib import contextmanager

_LIBRARIES = ("libcrypto.so.3", "libcrypto.so.1.1")
_CTRL_SET_TAG = 0x11
"""EVP_CTRL_AEAD_SET_TAG, openssl/evp.h."""
_TAG_BYTES, _BLOCK_BYTES, _HASH_BYTES = 16, 16, 32

_log = logging.getLogger(__name__)

_POINTER = ctypes.c_void_p
_FUNCTIONS = {
    # name: what it returns, what it takes
    "EVP_CIPHER_CTX_new": (_POINTER, ()),
    "EVP_CIPHER_CTX_free": (None, (_POINTER,)),
    "EVP_CIPHER_CTX_ctrl": (ctypes.c_int, (_POINTER, ctypes.c_int, ctypes.c_int, _POINTER)),
    "EVP_aes_128_ecb": (_POINTER, ()),
    "EVP_aes_128_gcm": (_POINTER, ()),
    "EVP_sha256": (_POINTER, ()),
    "EVP_EncryptInit_ex": (
        ctypes.c_int,
        (_POINTER, _POINTER, _POINTER, ctypes.c_char_p, ctypes.c_char_p),
    ),
    "EVP_EncryptUpdate": (
        ctypes.c_int,
        (_POINTER, _POINTER, ctypes.POINTER(ctypes.c_int), ctypes.c_char_p, ctypes.c_int),
    ),
    "EVP_DecryptInit_ex": (
        ctypes.c_int,
        (_POINTER, _POINTER, _POINTER, ctypes.c_char_p, ctypes.c_char_p),
    ),
    "EVP_DecryptUpdate": (
        ctypes.c_int,
        (_POINTER, _POINTER, ctypes.POINTER(ctypes.c_int), ctypes.c_char_p, ctypes.c_int),
    ),
    "EVP_DecryptFinal_ex": (ctypes.c_int, (_POINTER, _POINTER, ctypes.POINTER(ctypes.c_int))),
    "HMAC": (
        _POINTER,
        (
            _POINTER,
            ctypes.c_char_p,
            ctypes.c_int,
            ctypes.c_char_p,
            ctypes.c_size_t,
            _POINTER,
            ctypes.POINTER(ctypes.c_uint),
        ),
    ),
}


class QuicCipher:
    """AES-128 and HMAC-SHA-256 (`core.quic.Cipher`). Without the library, nothing can be read."""

    def __init__(self) -> None:
        self._library: ctypes.CDLL | None = None
        self._was_missed = False

    def mask(self, key: bytes, sample: bytes) -> bytes | None:
        """Return one block encrypted with AES-128 (ECB)."""
        library = self._loaded()
        if library is None or len(key) != _BLOCK_BYTES or len(sample) != _BLOCK_BYTES:
            return None
        out, size = ctypes.create_string_buffer(2 * _BLOCK_BYTES), ctypes.c_int()
        with _context(library) as context:
            if not library.EVP_EncryptInit_ex(context, library.EVP_aes_128_ecb(), None, key, None):
                return None
            if not library.EVP_EncryptUpdate(context, out, size, sample, len(sample)):
                return None
        return out.raw[:_BLOCK_BYTES]

    def opened(self, key: bytes, nonce: bytes, header: bytes, sealed: bytes) -> bytes | None:
        """Return what AES-128-GCM has sealed; None: it does not authenticate."""
        library = self._loaded()
        if library is None or len(key) != _BLOCK_BYTES or len(sealed) < _TAG_BYTES:
            return None
        text, tag = sealed[:-_TAG_BYTES], sealed[-_TAG_BYTES:]
        out, size = ctypes.create_string_buffer(len(text) + _BLOCK_BYTES), ctypes.c_int()
        with _context(library) as context:
            done = (
                library.EVP_DecryptInit_ex(context, library.EVP_aes_128_gcm(), None, key, nonce)
                and library.EVP_DecryptUpdate(context, None, size, header, len(header))
                and library.EVP_DecryptUpdate(context, out, size, text, len(text))
                and library.EVP_CIPHER_CTX_ctrl(context, _CTRL_SET_TAG, _TAG_BYTES, tag)
                # It says 0 or less where the tag is another one.
                and library.EVP_DecryptFinal_ex(context, ctypes.byref(out, len(text)), size) > 0
            )
        return out.raw[: len(text)] if done else None

    def hmac(self, key: bytes, message: bytes) -> bytes | None:
        """Return the HMAC with SHA-256 (RFC 2104)."""
        library = self._loaded()
        if library is None:
            return None
        out, size = ctypes.create_string_buffer(_HASH_BYTES), ctypes.c_uint()
        kind = library.EVP_sha256()
        done = library.HMAC(kind, key, len(key), message, len(message), out, size)
        return out.raw if done else None

    def _loaded(self) -> ctypes.CDLL | None:
        if self._library is None:
            self._library = _load()
            if self._library is None and not self._was_missed:
                self._was_missed = True
                _log.warning(
                    "no server name can be read in QUIC: %s cannot be loaded; install libssl3",
                    " or ".join(_LIBRARIES),
                )
        return self._library


def _load() -> ctypes.CDLL | None:
    for name in _LIBRARIES:
        try:
            library = ctypes.CDLL(name)
            for function, (result, arguments) in _FUNCTIONS.items():
                loaded = getattr(library, function)
                loaded.restype, loaded.argtypes = result, arguments
        except (AttributeError, OSError):
            continue
        return library
    return None


@contextmanager
def _context(library: ctypes.CDLL) -> Iterator[int]:
    context = library.EVP_CIPHER_CTX_new()
    if not context:
        raise MemoryError("libcrypto has no memory")
    try:
        yield context
    finally:
        library.EVP_CIPHER_CTX_free(context)
