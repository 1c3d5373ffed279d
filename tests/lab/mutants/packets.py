"""Faults in reading packets: what they say of themselves is read otherwise, or not at all."""

from __future__ import annotations

from lab.mutants.mutant import Function, around, mutant
from nfsnitch.core import packet
from nfsnitch.core.first_data import FirstData, Step
from nfsnitch.core.flow import Protocol
from nfsnitch.core.question_refusal import QuestionRefusal
from nfsnitch.naming.pending import Pending


@mutant(
    "extensions-not-followed",
    "nothing is looked for behind extension headers of IPv6",
    "ipv6/destination-options",
)
def _extensions_not_followed() -> None:
    def walk(
        _real: Function, _packet: bytes, proto: int, start: int, _end: int
    ) -> tuple[int, int, int]:
        return proto, start, 0

    around(packet, "_walk", walk)


@mutant("any-number-of-extensions", "any number of them is followed", "ipv6/long-chain")
def _any_number_of_extensions() -> None:
    packet.MAX_EXTENSION_HEADERS = 1000


@mutant(
    "behind-no-authentication-header",
    "nothing is looked for behind authentication headers",
    "protocols/authentication-header",
)
def _behind_no_authentication_header() -> None:
    def skip(_real: Function, _packet: bytes, start: int, _end: int) -> tuple[int, int]:
        return Protocol.AH.value, start

    around(packet, "_skip_ipv4_ah", skip)


@mutant("source-route-followed", "a packet may have a route in it", "ip/source-route")
def _source_route_followed() -> None:
    around(packet, "_route_under_way", lambda _real, *_: False)


@mutant("routing-header-followed", "it may in IPv6", "ipv6/routing-header")
def _routing_header_followed() -> None:
    packet._ROUTING = -1  # noqa: SLF001


@mutant(
    "lengths-not-checked",
    "what a header says of lengths is believed",
    "ip/malformed-tcp",
    "protocols/truncated-headers",
)
def _lengths_not_checked() -> None:
    around(packet, "_require", lambda _real, *_: None)


@mutant(
    "first-data-not-read",
    "no connection's first data is looked at",
    "names/http-host",
    "names/tls-name",
)
def _first_data_not_read() -> None:
    def read(_real: Function, first_data: FirstData, arrival: object) -> Step:
        segment = arrival.segment  # type: ignore[attr-defined]
        if segment is None or segment.is_empty:
            return Step.NO_DATA
        first_data.give_up(arrival, "it was not looked at")  # type: ignore[arg-type]
        return Step.TOLD

    around(FirstData, "read", read)


@mutant("questions-let-out", "refused questions are asked", "names/refused-question")
def _questions_let_out() -> None:
    around(QuestionRefusal, "received", lambda _real, _refusal, _arrival: None)


@mutant("answers-unasked", "answers to no question give names, too", "names/forged-answers")
def _answers_unasked() -> None:
    def take(real: Function, *args: object) -> bool:
        return bool(real(*args)) or True

    around(Pending, "take", take)
