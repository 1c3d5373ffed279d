"""The server's name in the first bytes of a TCP connection, whichever protocol that is."""

from __future__ import annotations

from nfsnitch.core.client_hello import HANDSHAKE_RECORD, read_records
from nfsnitch.core.http_host import read_request
from nfsnitch.core.server_name import INCOMPLETE, MAX_BYTES, Nothing, Reading


def read_stream(data: bytes) -> Reading:
    """Return the name in the data that a connection begins with; never raises."""
    if not data:
        return INCOMPLETE
    looked_at = data[:MAX_BYTES]
    is_tls = looked_at[0] == HANDSHAKE_RECORD
    reading = read_records(looked_at) if is_tls else read_request(looked_at)
    if reading is INCOMPLETE and len(data) >= MAX_BYTES:
        return Nothing(f"its first {MAX_BYTES} bytes do not say")
    return reading
