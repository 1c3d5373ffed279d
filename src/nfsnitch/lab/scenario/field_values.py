"""Values of the fields of packets: what scapy takes for the texts of a scenario file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any, Final

from nfsnitch.adapters.rulefile.problems import Refused, closest, quoted
from nfsnitch.lab.scenario import reading_values as values
from nfsnitch.lab.scenario.layers import FieldType, Kind, field_type, flag_bits
from nfsnitch.lab.scenario.matching import SOME_OF
from nfsnitch.lab.scenario.model import Range

PAIR: Final = 2
HEX: Final = "hex:"
"""Before bytes that are written in hexadecimal."""

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.ASCII | re.IGNORECASE)
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|[0-9]+", re.ASCII)


def field_value(layer: str, name: str, given: Any, *, wanted: bool) -> Any:  # noqa: ANN401
    """Return the value of a field as scapy takes it, or with *wanted* as it is looked for.

    *given* are texts, and lists and mappings of texts, as YAML has them.

    Raises:
        Refused: the layer has no such field, or the field takes no such value.

    """
    return _value(field_type(layer, name), (layer, name), given, wanted)


def hexadecimal(text: str) -> bytes:
    """Return the bytes that *text* has two digits of each.

    Raises:
        Refused: it has something else.

    """
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise Refused("it is no hexadecimal", "write two digits a byte, as in 45000014") from None


def _value(of_field: FieldType, place: tuple[str, str], given: Any, wanted: bool) -> Any:  # noqa: ANN401, FBT001
    if of_field.kind is Kind.TCP_OPTIONS:
        return tuple(_tcp_option(name, each) for name, each in _options(given))
    if of_field.kind is Kind.DHCP_OPTIONS:
        return tuple(_dhcp_option(name, each) for name, each in _options(given))
    if of_field.kind is Kind.LIST and of_field.of is not None:
        if not isinstance(given, list):
            raise Refused("it is a list", "write it between [ and ]")
        return tuple(_value(of_field.of, place, each, False) for each in given)  # noqa: FBT003
    if not isinstance(given, str):
        raise Refused("it is a single value", "write one value")
    if of_field.kind is Kind.NUMBER:
        return _number(of_field, given, wanted)
    if of_field.kind is Kind.FLAGS:
        return _flags(of_field, place, given, wanted)
    return _TEXTS[of_field.kind, wanted](given)


def _number(of_field: FieldType, text: str, wanted: bool) -> int | Range:  # noqa: FBT001
    most = (1 << of_field.bits) - 1
    if text in of_field.words:
        number = of_field.words[text]
    elif wanted and _NUMBER.fullmatch(text) is None and not text[:1].isalpha():
        return values.range_of(text)
    elif of_field.words and text[:1].isalpha():
        otherwise = f"write a number from 0 to {most}"
        raise Refused("no number has that name", closest(text, of_field.words, otherwise))
    else:
        number = values.whole(0, most)(text)
    return Range(number, number, text) if wanted else number


def _flags(of_field: FieldType, place: tuple[str, str], text: str, wanted: bool) -> int | str:  # noqa: FBT001
    if _NUMBER.fullmatch(text) is not None and not wanted:
        return values.whole(0, (1 << of_field.bits) - 1)(text)
    bits = flag_bits(*place, text.removeprefix(SOME_OF) if wanted else text)
    return text if wanted else bits


def _mac(text: str) -> str:
    if _MAC.fullmatch(text) is None:
        raise Refused("it is an Ethernet address", "write as in 02:00:00:00:00:01")
    return text.lower()


def _ipv4(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except ValueError:
        raise Refused("it is an IPv4 address", "write as in 192.0.2.1") from None


def _ipv6(text: str) -> str:
    try:
        if "%" not in text:
            return str(IPv6Address(text))
    except ValueError:
        pass
    raise Refused("it is an IPv6 address", "write as in 2001:db8::1")


def _network(text: str) -> str:
    try:
        network = ip_network(text)
    except ValueError:
        instead = "write as in 192.0.2.1 or 192.0.2.0/24"
        raise Refused("it is an address or a network", instead) from None
    return str(network.network_address) if "/" not in text else str(network)


def _bytes(text: str) -> bytes:
    return hexadecimal(text.removeprefix(HEX)) if text.startswith(HEX) else text.encode()


def _text_or_bytes(text: str) -> str | bytes:
    return _bytes(text) if text.startswith(HEX) else text


_TEXTS: Final[Mapping[tuple[Kind, bool], Callable[[str], str | bytes]]] = {
    (Kind.MAC, False): _mac,
    (Kind.MAC, True): _mac,
    (Kind.IPV4, False): _ipv4,
    (Kind.IPV4, True): _network,
    (Kind.IPV6, False): _ipv6,
    (Kind.IPV6, True): _network,
    (Kind.BYTES, False): _bytes,
    (Kind.BYTES, True): _bytes,
    (Kind.TEXT_OR_BYTES, False): _text_or_bytes,
    (Kind.TEXT_OR_BYTES, True): _bytes,
}


def _options(given: Any) -> list[tuple[str, Any]]:  # noqa: ANN401  it is a value of YAML
    """Return names and values of options: ``[{MSS: 1460}, NOP, [WScale, 7]]`` or a mapping."""
    found: list[tuple[str, Any]] = []
    for each in given if isinstance(given, list) else [given]:
        if isinstance(each, str) and each:
            found.append((each, None))
        elif isinstance(each, dict):
            found += each.items()
        elif isinstance(each, list) and each and isinstance(each[0], str):
            found.append((each[0], each[1] if len(each) == PAIR else each[1:]))
        else:
            raise Refused("an option is a name, or a name and its value", "write as in {MSS: 1460}")
    return found


def _tcp_option(name: str, value: Any) -> tuple[str | int, Any]:  # noqa: ANN401  it is a value of YAML
    from scapy.layers.inet import TCPOptions  # noqa: PLC0415  it takes long to import

    if _NUMBER.fullmatch(name) is not None:
        return values.whole(0, 255)(name), b"" if value is None else _bytes(_single(value))
    if name not in TCPOptions[1]:
        raise Refused(
            f"there is no option {quoted(name)}", closest(name, TCPOptions[1], "write its number")
        )
    if name == "SAckOK":
        return name, b""
    return name, None if value is None or value == "" else _numbers(value)


def _dhcp_option(name: str, value: Any) -> Any:  # noqa: ANN401  it is a value of YAML
    from scapy.layers.dhcp import DHCPRevOptions  # noqa: PLC0415  it takes long to import

    if name in {"end", "pad"}:
        return name
    if name not in DHCPRevOptions:
        instead = closest(name, DHCPRevOptions, "write one that DHCP has (RFC 2132)")
        raise Refused(f"there is no option {quoted(name)}", instead)
    return (name, *(_of_dhcp(_single(each)) for each in _list(value)))


def _of_dhcp(text: str) -> int | str | bytes:
    return int(text, 0) if re.fullmatch("0|[1-9][0-9]{0,9}", text) else _text_or_bytes(text)


def _numbers(value: Any) -> Any:  # noqa: ANN401  it is a value of YAML
    if isinstance(value, list):
        return tuple(values.whole(0, (1 << 32) - 1)(_single(each)) for each in value)
    text = _single(value)
    return _bytes(text) if text.startswith(HEX) else values.whole(0, (1 << 32) - 1)(text)


def _list(value: Any) -> list[Any]:  # noqa: ANN401  it is a value of YAML
    return [] if value is None else value if isinstance(value, list) else [value]


def _single(value: Any) -> str:  # noqa: ANN401  it is a value of YAML
    if not isinstance(value, str):
        raise Refused("an option's value is a text, a number or a list of them", "write one")
    return value
