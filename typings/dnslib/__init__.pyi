# What the tests use of dnslib, which comes without types.

class _Numbers:
    A: int

QTYPE: _Numbers

class RD: ...

class A(RD):
    def __init__(self, data: str) -> None: ...

class DNSQuestion:
    qname: object

class RR:
    rtype: int
    rclass: int
    ttl: int
    def __init__(
        self, rname: str, rtype: int = ..., rclass: int = ..., ttl: int = ..., rdata: RD = ...
    ) -> None: ...
    @classmethod
    def fromZone(cls, zone: str) -> list[RR]: ...  # noqa: N802

class EDNS0(RR):
    def __init__(self, *, udp_len: int = ...) -> None: ...

class DNSHeader:
    id: int
    tc: int
    qr: int
    aa: int
    rd: int
    ra: int
    rcode: int

class DNSRecord:
    header: DNSHeader
    q: DNSQuestion
    rr: list[RR]
    auth: list[RR]
    ar: list[RR]
    @classmethod
    def parse(cls, packet: bytes) -> DNSRecord: ...
    @classmethod
    def question(cls, qname: str, qtype: str = ...) -> DNSRecord: ...
    def reply(self) -> DNSRecord: ...
    def add_answer(self, *records: RR) -> None: ...
    def add_auth(self, *records: RR) -> None: ...
    def add_ar(self, *records: RR) -> None: ...
    def pack(self) -> bytearray: ...
