"""Flows whose first data may say the name of the host, and what it has said.

A rule may depend on a name that DNS did not give. Then a TCP connection is let out for as long as
it has no data, and its data waits until it has said the name, or that it will not. A datagram
waits with what it says. What was said holds for that flow of that socket alone.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterator, KeysView
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from nfsnitch.core.events import FlowArrived
from nfsnitch.core.flow import Flow
from nfsnitch.core.holding import HeldKey, key_of
from nfsnitch.core.name import Name, Names
from nfsnitch.core.owner import Finding
from nfsnitch.core.ruleset import Ruleset, Ruling
from nfsnitch.core.segment import ACK, FIN, RST, URG, Segment
from nfsnitch.core.server_name import INCOMPLETE, MAX_BYTES, Found, Incomplete, Nothing, Reading
from nfsnitch.core.shares import User, user_of
from nfsnitch.core.stream_name import read_stream
from nfsnitch.core.unknown import Unknown

if TYPE_CHECKING:
    from nfsnitch.core.quic import Cipher, InitialReader

TCP_PATIENCE_NS = 3_000_000_000
"""How long a connection's first data is waited for at most until all of it is there."""
TCP_HOLD_NS = 30_000_000
"""How long a piece of it is held. The kernel may keep the next one back until this one has left
(tcp_autocorking, tcp(7)), and sends none again while it waits with us."""
UDP_PATIENCE_NS = 200_000_000
"""The same of datagrams, of which the next one comes at once or not at all."""
CLOSED_KEPT_NS = 1_000_000_000
"""What a socket sent before it was closed may come to us later."""
_RELEASE_AGAIN_NS = 1_000_000_000
_RESENT_NS = 130_000_000_000
"""So late the kernel may send again what was dropped (120 s, TCP_RTO_MAX in net/tcp.h)."""
TOO_LATE = "the rest of its first data did not come in time"
_ALL_BYTES = 4 << 20
"""Of first data that is not whole yet, of all flows together."""
_BYTES_OF_USER = _ALL_BYTES // 4
_WRAP = 1 << 32


class Step(Enum):
    """What came of reading a packet."""

    NO_DATA = auto()
    """It has none."""
    INCOMPLETE = auto()
    """More of it may tell."""
    TOLD = auto()
    """What can be told, is."""


@dataclass(slots=True)
class Watched:
    """A flow of a socket."""

    arrival: FlowArrived
    """Of its first packet."""
    ruling: Ruling | None = None
    """Why it was let out without data; None: it was not."""
    packets: int = 0
    """That were let out so."""
    opened_at: int | None = None
    """Number of the SYN."""
    begins_at: int | None = None
    """Number of the first byte of data."""
    data: bytearray = field(default_factory=bytearray)
    initial: InitialReader | None = None
    connection: bytes | None = None
    """Of QUIC: the ID by which that began which has said its name."""
    since_ns: int | None = None
    """When the first of its data came (monotonic)."""
    told: Name | str | None = None
    """The name, or why there is none; None: not yet."""
    released_ns: int | None = None


class FirstData:
    """All flows whose first data is looked at: a bounded number, the oldest are forgotten."""

    def __init__(self, ruleset: Ruleset, cipher: Cipher | None) -> None:
        """Read QUIC by means of *cipher*, or not at all."""
        self._cipher = cipher
        self._flows: OrderedDict[HeldKey, Watched] = OrderedDict()
        self._of_socket: dict[int | Unknown, set[HeldKey]] = {}
        self._closed: deque[tuple[int, int]] = deque()
        """When it is over with a closed socket (monotonic), and its cookie."""
        self._unsaid: list[Watched] = []
        self._forgot_data_ns: int | None = None
        """When the beginning of some first data was last forgotten, which had been dropped."""
        self._bytes = Counter[User]()
        """Of `Watched.data` and `Watched.initial`, by whose they are."""
        self.use(ruleset)

    def __len__(self) -> int:
        """Return how many flows are known."""
        return len(self._flows)

    def use(self, ruleset: Ruleset) -> None:
        """Go by these rules from here on. What was said stays true."""
        self._is_wanted = ruleset.reads_first_data
        self._most = ruleset.settings.limits.decided_flows

    def concerns(self, arrival: FlowArrived) -> bool:
        """Whether a packet may have to do with a name that a flow has said, or may say."""
        if self._is_wanted or self._flows:
            return True
        return arrival.found.names.may_come or bool(arrival.found.rivals)

    def prepared(self, arrival: FlowArrived) -> FlowArrived:
        """Return a packet that has just come with the name that its flow has said, or may say."""
        if not self.concerns(arrival):
            return arrival
        watched = self._flows.get(key_of(arrival))
        if watched is not None and self._is_another(watched, arrival):
            self._forget(key_of(arrival))
        return self.applied(arrival)

    def applied(self, arrival: FlowArrived) -> FlowArrived:
        """Return a packet that came before with what is known now."""
        watched = self._flows.get(key_of(arrival))
        told = None if watched is None else watched.told
        may_come = told is None and self._is_wanted and arrival.segment is not None
        return arrival._replace(found=_with(arrival.found, told, may_come=may_come))

    def known(self, flow: Flow, found: Finding, *, awaits_name: bool) -> Finding:
        """Return a flow under way with what it has said, or may say still."""
        watched = self._flows.get((flow, found.sock_cookie))
        told = None if watched is None else watched.told
        may_come = told is None and self._is_wanted and awaits_name
        return _with(found, told, may_come=may_come)

    def knows(self, arrival: FlowArrived) -> bool:
        """Whether what came before of its flow is still known."""
        return key_of(arrival) in self._flows

    def read(self, arrival: FlowArrived) -> Step:
        """Look into a packet of a flow for which a name is needed; see `applied` if it is told."""
        segment = arrival.segment
        if segment is None:
            return Step.NO_DATA
        watched = self._watched(arrival)
        if segment.opens and segment.tcp is not None:
            watched.opened_at = segment.tcp.seq
            watched.begins_at = (segment.tcp.seq + 1) % _WRAP
        if segment.tcp is not None and segment.is_empty:
            return Step.NO_DATA
        now_ns = arrival.now.monotonic_ns
        watched.since_ns = now_ns if watched.since_ns is None else watched.since_ns
        reading = self._reading(watched, segment, now_ns)
        if isinstance(reading, Incomplete):
            if segment.tcp is None or not self.is_late(arrival, now_ns):
                return Step.INCOMPLETE
            reading = Nothing(TOO_LATE)
        self._tell(watched, _told(reading, now_ns))
        return Step.TOLD

    def give_up(self, arrival: FlowArrived, why: str) -> None:
        """Do not wait any longer for what a flow may say."""
        watched = self._watched(arrival)
        if watched.told is None:
            self._tell(watched, why)

    def is_late(self, arrival: FlowArrived, now_ns: int) -> bool:
        """Whether the rest of a connection's first data has been waited for long enough."""
        watched = self._flows.get(key_of(arrival))
        if watched is None or watched.since_ns is None:
            return True
        return now_ns >= watched.since_ns + TCP_PATIENCE_NS

    def let_out(self, arrival: FlowArrived, ruling: Ruling, packets: int) -> bool:
        """Take note that packets without data were let out; True if they are the flow's first."""
        watched = self._watched(arrival)
        is_first = watched.ruling is None
        watched.ruling = ruling
        watched.packets += packets
        return is_first

    def releases(self, arrival: FlowArrived, now_ns: int) -> bool:
        """Whether the kernel should be told (again) to let an accepted flow's packets pass."""
        segment = arrival.segment
        if segment is None:
            return False
        watched = self._flows.get(key_of(arrival))
        if segment.tcp is None or segment.opens or segment.has(RST):
            return False
        if watched is None:
            # It came although it is under way: an earlier daemon may have let it out.
            if not self._is_wanted or not segment.has(ACK):
                return False
            watched = self._watched(arrival)
        if watched.released_ns is not None and now_ns < watched.released_ns + _RELEASE_AGAIN_NS:
            return False
        watched.released_ns = now_ns
        return True

    @property
    def sockets(self) -> KeysView[int | Unknown]:
        """Those of which a flow is known."""
        return self._of_socket.keys()

    def closed(self, cookie: int, now_ns: int) -> int | None:
        """Take note of a closed socket; return when to call `over`, if it matters."""
        if cookie not in self._of_socket:
            return None
        self._closed.append((now_ns + CLOSED_KEPT_NS, cookie))
        return self.next_ns()

    def next_ns(self) -> int | None:
        """Return when to call `over` next (monotonic)."""
        return self._closed[0][0] if self._closed else None

    def over(self, now_ns: int) -> None:
        """Forget the sockets that were closed some time ago."""
        while self._closed and self._closed[0][0] <= now_ns:
            _, cookie = self._closed.popleft()
            for key in tuple(self._of_socket.get(cookie, ())):
                self._forget(key)

    def stop(self) -> None:
        """Forget all."""
        for key in tuple(self._flows):
            self._forget(key)

    def unsaid(self) -> Iterator[Watched]:
        """Yield each flow, once, that was let out, and forgotten before it had said a name."""
        while self._unsaid:
            yield self._unsaid.pop()

    def _watched(self, arrival: FlowArrived) -> Watched:
        key = key_of(arrival)
        if key not in self._flows:
            while len(self._flows) >= self._most:
                oldest, its = next(iter(self._flows.items()))
                if its.data:
                    self._forgot_data_ns = arrival.now.monotonic_ns
                self._forget(oldest)
            self._flows[key] = Watched(arrival)
            self._of_socket.setdefault(key[1], set()).add(key)
        self._flows.move_to_end(key)
        return self._flows[key]

    def _forget(self, key: HeldKey) -> None:
        watched = self._flows.pop(key)
        keys = self._of_socket[key[1]]
        keys.discard(key)
        if not keys:
            del self._of_socket[key[1]]
        self._count(watched, -_size(watched))
        if watched.told is None and watched.ruling is not None:
            self._unsaid.append(watched)

    def _reading(self, watched: Watched, segment: Segment, now_ns: int) -> Reading:
        before = _size(watched)
        if segment.tcp is None:
            reading = self._of_datagram(watched, segment.data)
        elif watched.begins_at is None and self._may_have_forgotten(now_ns):
            reading = Nothing("whether its first data begins here is not known any more")
        else:
            reading = _of_stream(watched, segment, segment.tcp.seq)
        of_user = self._count(watched, _size(watched) - before)
        is_too_much = of_user > _BYTES_OF_USER or self._bytes.total() > _ALL_BYTES
        if reading is INCOMPLETE and is_too_much:
            return Nothing("too many flows wait for the rest of their first data")
        return reading

    def _may_have_forgotten(self, now_ns: int) -> bool:
        """Whether a flow whose beginning was not seen may be one whose beginning was forgotten."""
        return self._forgot_data_ns is not None and now_ns < self._forgot_data_ns + _RESENT_NS

    def _count(self, watched: Watched, more_bytes: int) -> int:
        """Count what waits; return how much its user has of it."""
        user = user_of(watched.arrival.found.owner)
        self._bytes[user] += more_bytes
        of_user = self._bytes[user]
        if not of_user:
            del self._bytes[user]
        return of_user

    def _is_another(self, watched: Watched, arrival: FlowArrived) -> bool:
        """Whether a packet begins a connection, or datagrams, of which nothing is known yet."""
        segment = arrival.segment
        if segment is None:
            return False
        if segment.tcp is not None:
            return segment.opens and watched.opened_at != segment.tcp.seq
        if isinstance(watched.told, str):
            # No stream: what does not say a name does not keep the next one from saying it.
            return True
        if watched.told is None or self._cipher is None:
            return False
        # Programs have several connections to one address by the same socket.
        from nfsnitch.core import quic  # noqa: PLC0415  as below

        connection = quic.connection_begun(segment.data, self._cipher)
        return connection is not None and connection != watched.connection

    def _of_datagram(self, watched: Watched, data: bytes) -> Reading:
        if self._cipher is None:
            return Nothing("QUIC is not read here")
        if watched.initial is None:
            # Whose rules need no names from datagrams does not have it in memory.
            from nfsnitch.core import quic  # noqa: PLC0415

            watched.initial = quic.InitialReader(self._cipher)
        return watched.initial.add(data)

    def _tell(self, watched: Watched, told: Name | str) -> None:
        self._count(watched, -_size(watched))
        watched.told = told
        watched.connection = watched.initial.connection if watched.initial else None
        watched.data, watched.initial = bytearray(), None


def _of_stream(watched: Watched, segment: Segment, seq: int) -> Reading:
    if segment.opens:
        seq = (seq + 1) % _WRAP
    if watched.begins_at is None:
        # Let out by an earlier daemon. No data has left since: it begins here.
        watched.begins_at = seq
    offset, known = (seq - watched.begins_at) % _WRAP, len(watched.data)
    again = segment.data[: max(0, known - offset)]
    if segment.has(URG):
        # Of urgent data a byte is taken out of the stream, which others then read without it.
        return Nothing("its first data is urgent")
    if offset > known:
        return Nothing("its first data did not come in order")
    if watched.data[offset:][: len(again)] != again:
        return Nothing("its first data was sent again with other bytes")
    watched.data += segment.data[len(again) :][: MAX_BYTES - known]
    reading = read_stream(bytes(watched.data))
    return _unless_it_ends(segment) if reading is INCOMPLETE else reading


def _unless_it_ends(segment: Segment) -> Reading:
    """Return what a segment says that is no whole beginning."""
    if segment.is_cut:
        return Nothing("its first data is longer than what the kernel shows of a packet")
    if segment.opens or segment.has(FIN):
        return Nothing("its first data is not whole")
    return INCOMPLETE


def _told(reading: Found | Nothing, now_ns: int) -> Name | str:
    if isinstance(reading, Nothing):
        return reading.reason
    return Name(reading.name, reading.source, own=True, known_ns=now_ns)


def _with(found: Finding, told: Name | str | None, *, may_come: bool) -> Finding:
    names = _names(found.names, told, may_come=may_come)
    of_rivals = tuple(_names(each, told, may_come=may_come) for each in found.names_of_rivals)
    return found._replace(names=names, names_of_rivals=of_rivals)


def _names(names: Names, told: Name | str | None, *, may_come: bool) -> Names:
    if isinstance(told, Name):
        return Names((told,))
    if told is None:
        return names if names.may_come is may_come else names._replace(may_come=may_come)
    return names._replace(may_come=False, why_none=told)


def _size(watched: Watched) -> int:
    return len(watched.data) + (watched.initial.bytes if watched.initial else 0)
