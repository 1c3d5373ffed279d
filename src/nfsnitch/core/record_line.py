"""Records as lines, by whoever writes many of them.

`Record.as_line` says what a line is. Here the same is put together from texts that many records
share: of one program thousands, which differ in the time and a port.
"""

from __future__ import annotations

import json

from nfsnitch.core.alike import Alike, whole
from nfsnitch.core.decision import Decision
from nfsnitch.core.flow import Flow, address_text
from nfsnitch.core.name_record import entry_json
from nfsnitch.core.owner import NOT_FORWARDED, Owner
from nfsnitch.core.record import Json, Record, flow_json, owner_json, time_text
from nfsnitch.core.unknown import Unknown

_OWNERS, _ADDRESSES, _LIKES = 16, 256, 64
"""So many are remembered: a text of an owner has a few KB at most, and that of a record."""
_NS_PER_S = 1_000_000_000

_encoded = json.JSONEncoder(separators=(",", ":")).encode

_Parts = tuple[str, str, str, str, str, str, str]
_Between = tuple[str, str, str, str]
"""What is between time, port and destination."""


class RecordLines:
    """Turns records into lines of ASCII JSON, without the line end. For one thread."""

    def __init__(self) -> None:
        self._owners: dict[int, tuple[Owner, str]] = {}
        """By `id`, which no other object gets while the first one is kept here."""
        self._alike: dict[int, tuple[Record, _Between]] = {}
        """By `id` of what others are like; kept here in the same way."""
        self._addresses: dict[bytes, str] = {}
        self._second, self._second_text = -1, ""
        self._decision: Decision | None = None
        self._decision_text = ""

    def line(self, record: Record | Alike) -> str:
        """Return what `Record.as_line` of the whole record returns."""
        if isinstance(record, Alike):
            return self._line_alike(record)
        return "".join(self._parts(record))

    def _line_alike(self, record: Alike) -> str:
        # There may be tens of thousands in a second: what is asked here is not asked by a call.
        like, wall_ns, sport, daddr = record
        known = self._alike.get(id(like))
        begin, middle, between, end = (known or self._remembered(like))[1]
        if like.names.names:  # these say how old they are
            return self.line(whole(record))
        second, ns = divmod(wall_ns, _NS_PER_S)
        if second != self._second:
            self._time(wall_ns)
        address = self._addresses.get(daddr) or self._address(daddr)
        return f"{begin}{self._second_text}.{ns // 1000:06d}Z{middle}{sport}{between}{address}{end}"

    def _remembered(self, like: Record) -> tuple[Record, _Between]:
        begin, _, middle, _, between, _, end = self._parts(like)
        if len(self._alike) >= _LIKES:
            del self._alike[next(iter(self._alike))]
        self._alike[id(like)] = found = like, (begin, middle, between, end)
        return found

    def _parts(self, record: Record) -> _Parts:
        """Return the line in parts: each second one is time, port and destination in this order."""
        decision = record.decision
        if decision is not self._decision:  # in a burst they have one together
            self._decision, self._decision_text = decision, _decision(decision)
        entry = "" if decision.entry is None else f",{_inner(entry_json(decision.entry))}"
        cached = ',"cached":true' if record.is_cached else ""
        iface_in, rivals = record.iface_in, ""
        came = "" if iface_in is NOT_FORWARDED else f',"iface_in":{_value(iface_in)}'
        if record.rivals:
            rivals = f',"rivals":[{",".join(f"{{{self._owner(each)}}}" for each in record.rivals)}]'
        source, port, between, daddr, rest = self._flow(record)
        return (
            '{"time":"',
            self._time(record.wall_ns),
            (
                f'",{self._decision_text},'
                f'"generation":{record.generation},"attribution":"{record.attribution}",'
                f'"held_ms":{round(record.held_ns / 1e6, 3)},"packets":{record.packets}{cached},'
                f'{self._owner(record.owner)},"netns":{record.netns},{source}'
            ),
            port,
            between,
            daddr,
            f'{rest},{_host(record)}{entry},"iface":{_value(record.iface)}{came}{rivals}}}',
        )

    def _time(self, wall_ns: int) -> str:
        second, ns = divmod(wall_ns, _NS_PER_S)
        if second != self._second:
            self._second = second
            self._second_text = time_text(second * _NS_PER_S).partition(".")[0]
        return f"{self._second_text}.{ns // 1000:06d}Z"

    def _owner(self, owner: Owner) -> str:
        known = self._owners.get(id(owner))
        if known is not None:
            return known[1]
        text = _inner(owner_json(owner))
        if len(self._owners) >= _OWNERS:
            del self._owners[next(iter(self._owners))]
        self._owners[id(owner)] = owner, text
        return text

    def _flow(self, record: Record) -> tuple[str, str, str, str, str]:
        """Return what names the flow; the second part is its source's port, the fourth where to."""
        flow = record.flow
        if type(flow) is not Flow or flow.icmp is not None or type(flow.sport) is not int:
            return _inner(flow_json(flow)), "", "", "", ""
        return (
            f'"proto":"{flow.proto_name}","saddr":"{self._address(flow.saddr)}","sport":',
            str(flow.sport),
            ',"daddr":"',
            self._address(flow.daddr),
            f'","dport":{flow.dport if type(flow.dport) is int else _value(flow.dport)}',
        )

    def _address(self, packed: bytes) -> str:
        text = self._addresses.get(packed)
        if text is None:
            if len(self._addresses) >= _ADDRESSES:
                del self._addresses[next(iter(self._addresses))]
            text = self._addresses[packed] = address_text(packed)
        return text


def _decision(decision: Decision) -> str:
    return (
        f'"verdict":"{decision.verdict}","action":"{decision.action}",'
        f'"rule":{_encoded(decision.rule)},"reason":"{decision.reason}"'
    )


def _host(record: Record) -> str:
    if type(record.flow) is Flow and not record.names.names:
        return f'"host":{{"unknown":{_encoded(record.names.why_none)}}}'
    return _inner(record.host_json())


def _value(value: str | int | Unknown) -> str:
    return _encoded({"unknown": value.reason} if isinstance(value, Unknown) else value)


def _inner(fields: Json) -> str:
    """Return an object's fields without its braces."""
    return _encoded(fields)[1:-1]
