"""What the kernel may decide by itself, once the engine has decided it."""

from __future__ import annotations

from nfsnitch.core.case import Case
from nfsnitch.core.commands import CacheVerdict, Command, PassFlow
from nfsnitch.core.decision import Action, Reason
from nfsnitch.core.events import FlowArrived
from nfsnitch.core.flow import Flow, Protocol
from nfsnitch.core.instant import Instant
from nfsnitch.core.outcomes import decision_of
from nfsnitch.core.owner import NOT_FORWARDED, Attribution, Finding, Process
from nfsnitch.core.question_refusal import DNS_PORT
from nfsnitch.core.ruleset import Ruleset, Ruling
from nfsnitch.core.standing import Reach, standing
from nfsnitch.core.unknown import Unknown

_SURE = frozenset({Attribution.QUEUE_PROBE, Attribution.FLOW_MAP, Attribution.SOCK_DIAG})
"""The socket is known by its cookie, and so is who uses it."""
_BY_RULES = frozenset({Reason.RULE, Reason.DEFAULT})


def kernel_verdicts(ruleset: Ruleset, arrival: FlowArrived, ruling: Ruling) -> list[Command]:
    """Return what the kernel may do by itself, now that this was the *ruling* on that packet."""
    flow, found = arrival.flow, arrival.found
    cookie, owner = found.sock_cookie, found.owner
    if ruling.reason not in _BY_RULES or ruling.action is Action.ASK or not _is_sure(found):
        return []
    if isinstance(cookie, Unknown) or not isinstance(owner, Process):
        return []
    if not _is_read_there(flow) or (ruleset.refuses_questions and flow.dport == DNS_PORT):
        return []
    if _is_refused_alike(flow, ruling):
        case = Case(flow, owner, arrival.iface, arrival.now, found.iface_in, found.names)
        stands = standing(ruleset, case)
        if stands is not None and _is_same(stands.ruling, ruling):
            decision, reach = decision_of(ruling), stands.reach
            if ruleset.refuses_questions:  # which are all judged, so the port matters
                reach = min(reach, Reach.PORT)
            return [CacheVerdict(flow, cookie, owner, decision, stands.until_ns, reach)]
    if ruling.action is Action.ALLOW and flow.proto == Protocol.UDP and not found.is_closed:
        return [PassFlow(flow, cookie, owner, _next_change_ns(ruleset, arrival.now))]
    return []


def _is_same(one: Ruling, other: Ruling) -> bool:
    """Whether both are by the same rule, whatever line of a list made it match."""
    return one.action is other.action and one.rule == other.rule


def _is_sure(found: Finding) -> bool:
    """Whether it is certain which socket sends, and that nobody has passed it on."""
    return found.attribution in _SURE and not found.rivals and found.iface_in is NOT_FORWARDED


def _is_refused_alike(flow: Flow, ruling: Ruling) -> bool:
    """Whether a program cannot tell who has decided.

    What netfilter drops without having queued it, sendto(2) of a datagram fails with EPERM;
    connect(2) of TCP sends a SYN, and goes by what comes back.
    """
    return ruling.action is Action.ALLOW or flow.proto == Protocol.TCP


def _is_read_there(flow: Flow) -> bool:
    """Whether the programs in the kernel look at such packets at all."""
    return flow.proto in {Protocol.TCP, Protocol.UDP} and not isinstance(flow.dport, Unknown)


def _next_change_ns(ruleset: Ruleset, now: Instant) -> int | None:
    """Return when the rules may say something else by themselves (monotonic); None: never."""
    change_ns = ruleset.next_change_ns(now)
    return None if change_ns is None else now.monotonic_ns + change_ns - now.wall_ns
