"""Sentences about who wants what, and the words for what the protocol says in one word."""

from __future__ import annotations

import pwd
import socket
from functools import lru_cache

from nfsnitch.protocol import (
    FOREVER,
    ONCE,
    PROCESS,
    RESTART,
    UNTIL,
    Asked,
    Ended,
    Mode,
    Outcome,
    Right,
    Say,
    Where,
    Who,
)
from nfsnitch_ui.facts import Fact, Json, known, part, program_name, why_unknown
from nfsnitch_ui.hosts import ambiguous, host, host_facts
from nfsnitch_ui.i18n import _, counted
from nfsnitch_ui.text import apart, middle, shown

_PORTLESS = {"icmp", "icmpv6"}
_ECHO_REQUESTS = {("icmp", 8), ("icmpv6", 128)}
_SOCKETS = {"packet", "xdp"}
_PERCENT = 100
_MINUTE_S, _HOUR_S = 60, 3600


@lru_cache(maxsize=1024)
def service(port: int, proto: str) -> str | None:
    """Return what a port is called in services(5)."""
    try:
        return shown(socket.getservbyport(port, proto))
    except (OSError, OverflowError):
        return None


def port_text(flow: Json) -> str | None:
    """Return the destination port with its service's name, as in ``443 (https)``."""
    port = flow.get("dport")
    if not isinstance(port, int) or isinstance(port, bool):
        return None
    name = service(port, str(flow.get("proto")))
    return f"{port} ({name})" if name else str(port)


def destination(flow: Json) -> str:
    """Return where a flow goes, in one piece: a name if there is one, else the address."""
    return middle(host(flow) or address(flow), 80)


def address(flow: Json) -> str:
    """Return the destination's address."""
    return known(flow.get("daddr")) or why_unknown(flow.get("daddr"))


def place(flow: Json) -> str:
    """Return address and port, short enough for a row."""
    port = known(flow.get("dport"))
    where = destination(flow)
    if port is None:
        return where
    return f"[{where}]:{port}" if ":" in where else f"{where}:{port}"


def protocol(flow: Json) -> str:
    """Return the protocol by its name; of ICMP, with type and code."""
    name = known(flow.get("proto")) or "?"
    if "icmp_type" in flow:
        return _("{protocol} type {type}, code {code}").format(
            protocol=name.upper(),
            type=known(flow.get("icmp_type")),
            code=known(flow.get("icmp_code")),
        )
    return name.upper() if name.isascii() else name


def wants(flow: Json) -> str:
    """Return what a program wants to do, without saying where."""
    proto = flow.get("proto")
    if proto in _SOCKETS:
        return _("wants to open a packet socket")
    if (proto, flow.get("icmp_type")) in _ECHO_REQUESTS:
        return _("wants to ping")
    if proto in {"tcp", "sctp"}:
        return _("wants to connect to")
    return _("wants to send to")


def sentence(asked: Asked) -> str:
    """Return the whole question in one sentence."""
    who, flow = apart(program_name(asked.owner)), asked.flow
    port = port_text(flow)
    text = _("{who} {wants} {where}") if port is None else _("{who} {wants} {where}, port {port}")
    where, several = apart(destination(flow)), ambiguous(flow)
    if several is not None:
        where = f"{where} ({apart(several)})"
    return text.format(who=who, wants=wants(flow), where=where, port=port)


def reason(asked: Asked) -> str:
    """Return why it is asked."""
    if asked.reason == "rule" and asked.rule is not None:
        return _("the rule “{rule}” wants it asked").format(rule=shown(asked.rule))
    if asked.reason == "unattributed":
        return _("nobody can say which program sends this")
    return _("no rule says what becomes of it")


def waiting(asked: Asked) -> str:
    """Return how many connections wait for the answer."""
    return counted("{n} connection waits", "{n} connections wait", asked.flows)


def action_done(action: str | None) -> str:
    """Return what became of flows, as in ``denied``."""
    done = {
        "allow": _("allowed"),
        "deny": _("denied"),
        "reject": _("rejected"),
        "dismiss": _("dismissed"),
        "accept": _("allowed"),
        "drop": _("denied"),
        "ask": _("asked"),
    }
    return done.get(action or "", shown(action or "?"))


def action_name(action: str) -> str:
    """Return an action's name, as a button has it."""
    names = {
        Say.ALLOW.value: _("Allow"),
        Say.DENY.value: _("Deny"),
        Say.REJECT.value: _("Reject"),
        "ask": _("Ask"),
    }
    return names.get(action, shown(action))


def if_unanswered(unanswered: str) -> str:
    """Return what becomes of flows that nobody answers."""
    then = {
        "allow": _("then it is allowed"),
        "deny": _("then it is denied"),
        "reject": _("then it is rejected"),
    }
    return then.get(unanswered, "")


def who_name(who: str) -> str:
    """Return for whom an answer is."""
    names = {
        Who.PROGRAM.value: _("this program"),
        Who.UNIT.value: _("this unit"),
        Who.APP.value: _("this app"),
        Who.PARENT.value: _("all started by"),
        Who.USER.value: _("all programs of"),
        Who.OWNER.value: _("this kind of sender"),
    }
    return names.get(who, shown(who))


def where_name(where: str) -> str:
    """Return for where an answer is."""
    names = {
        Where.ANYWHERE.value: _("anywhere"),
        Where.PORT.value: _("this port anywhere"),
        Where.ADDRESS.value: _("this address"),
        Where.ADDRESS_PORT.value: _("this address and port"),
        Where.NETWORK.value: _("this network"),
        Where.NETWORK_PORT.value: _("this network and port"),
        Where.HOST.value: _("this host"),
        Where.HOST_PORT.value: _("this host and port"),
        Where.DOMAIN.value: _("this domain"),
        Where.DOMAIN_PORT.value: _("this domain and port"),
    }
    return names.get(where, shown(where))


def durations() -> dict[str, str]:
    """Return how long an answer can hold, the shortest first."""
    return {
        ONCE: _("This once"),
        PROCESS: _("While this process runs"),
        "5m": _("For 5 minutes"),
        "15m": _("For 15 minutes"),
        "60m": _("For an hour"),
        RESTART: _("Until the firewall restarts"),
        FOREVER: _("For ever"),
        UNTIL: _("Until …"),
    }


def mode_name(mode: str) -> str:
    """Return what a mode does."""
    names = {
        Mode.ASK.value: _("Ask me"),
        Mode.ALLOW_SILENTLY.value: _("Allow silently"),
        Mode.DENY_SILENTLY.value: _("Deny silently"),
    }
    return names.get(mode, shown(mode))


def time_left(left_s: float) -> str:
    """Return a time in the unit that a person would use."""
    if left_s < _PERCENT:
        return _("{n} s").format(n=max(0, round(left_s)))
    if left_s < _PERCENT * _MINUTE_S:
        return _("{n} min").format(n=round(left_s / _MINUTE_S))
    return _("{n} h").format(n=round(left_s / _HOUR_S))


def user_of(uid: int | None) -> str:
    """Return the name of a user of this machine."""
    if uid is None:
        return _("somebody")
    try:
        return shown(pwd.getpwuid(uid).pw_name)
    except (KeyError, OverflowError):
        return _("user {uid}").format(uid=uid)


def ending(asked: Asked, ended: Ended) -> str:
    """Return how a question has ended, and by whom."""
    what = f"{apart(program_name(asked.owner))} → {apart(place(asked.flow))}"
    texts = {
        Outcome.ANSWERED.value: _("{user} has answered: {what} is {done}."),
        Outcome.DISMISSED.value: _("{user} has dismissed the question about {what}."),
        Outcome.UNANSWERED.value: _("Time is over for {what}."),
        Outcome.RULES.value: _("A rule or the mode has decided about {what}."),
        Outcome.GONE.value: _("{what}: the program has closed the connection."),
        Outcome.STOPPING.value: _("The firewall stops; {what} is no longer asked."),
    }
    text = texts.get(ended.outcome, _("The question about {what} has ended."))
    return text.format(user=user_of(ended.uid), what=what, done=action_done(ended.action))


def rights(granted: tuple[str, ...]) -> str | None:
    """Return why somebody with these rights cannot answer; None if they can."""
    if Right.ANSWER.value in granted:
        return None
    return _(
        "You may look, but not answer: the firewall lets this account only watch. "
        "Its administrator can change that."
    )


def destination_facts(flow: Json) -> list[Fact]:
    """Return all that is known of where it goes."""
    facts = list(host_facts(flow))
    where = known(flow.get("daddr"))
    facts.append(Fact(_("Address"), where or why_unknown(flow.get("daddr")), where is not None))
    if flow.get("proto") not in _PORTLESS:
        port = port_text(flow)
        facts.append(Fact(_("Port"), port or why_unknown(flow.get("dport")), port is not None))
    facts.append(Fact(_("Protocol"), protocol(flow)))
    return facts


def desktop_icon(owner: Json) -> str | None:
    """Return the name or path of the program's icon, as its desktop entry has it: raw."""
    icon = part(owner.get("desktop")).get("icon")
    return icon if isinstance(icon, str) and icon.isprintable() and icon else None
