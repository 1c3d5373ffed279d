"""The steps of a scenario but for what it expects."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Final

from nfsnitch.adapters.rulefile.document import Mapping as MappingNode
from nfsnitch.adapters.rulefile.document import Node, Scalar
from nfsnitch.adapters.rulefile.problems import Position, Refused, closest, listed, quoted
from nfsnitch.lab.scenario import model
from nfsnitch.lab.scenario import reading_values as values
from nfsnitch.lab.scenario.model import FirewallDeed, Layers, Side, Step
from nfsnitch.lab.scenario.packets import is_frame
from nfsnitch.lab.scenario.reading_expectations import read_expectation, read_fields
from nfsnitch.lab.scenario.reading_packets import Shape, read_packet, read_shape
from nfsnitch.lab.scenario.reading_scope import Scope
from nfsnitch.lab.scenario.standard import CLIENT
from nfsnitch.protocol import Say, Where, Who

MOST_TIMES: Final = 100_000
RUN_WITHIN_NS: Final = 20 * 10**9
SENT_WITHIN_NS: Final = 20 * 10**9
ANSWERED_WITHIN_NS: Final = 10 * 10**9
_RUN_KEYS = (
    *("program", "args", "as", "on", "uid", "gid", "cgroup", "parents", "stdin"),
    *("background", "within"),
)
_SEND_KEYS = (
    *("from", "frame", "program", "as", "packet", "packets", "count", "every"),
    *("fragment", "order", "truncate", "within"),
)
_ANSWER_KEYS = ("question", "action", "who", "where", "duration", "within")
_MOST_ID = 2**32 - 2
_CGROUP = re.compile(
    r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,60}(?:/[A-Za-z0-9_][A-Za-z0-9_.@-]{0,60}){0,4}"
)
_A_STEP = "write as in - run: {program: curl, args: [-s, http://198.51.100.2/]}"


def read_steps(node: Node, scope: Scope) -> tuple[Step, ...]:
    """Return the steps in the list at *node*, without those that are wrong."""
    found = []
    for each in scope.nodes.items(node, "steps"):
        if not isinstance(each, MappingNode) or len(each.pairs) != 1:
            refused = Refused("it has one key, which says what is done", _A_STEP)
            scope.nodes.refuse(each, "step", refused)
            continue
        [(key, value)] = each.pairs
        reader = _STEPS.get(key.text)
        if reader is None:
            refused = Refused(f"it is {listed(_STEPS)}", closest(key.text, _STEPS, _A_STEP))
            scope.nodes.refuse(key, f"step {quoted(key.text)}", refused)
            continue
        step = reader(key.position, value, scope)
        if step is not None:
            found.append(step)
    return tuple(found)


def read_rules(node: Node, scope: Scope) -> str:
    """Return the text of a rule file."""
    return scope.nodes.value(node, "rules", scope.some_text, "")


def _run(position: Position, node: Node, scope: Scope) -> Step | None:
    nodes = scope.nodes
    read = nodes.fields(node, "run", _RUN_KEYS, ("program",))
    if read is None:
        return None
    program = nodes.value(read.get("program"), "program", scope.some_text, "")
    return model.Run(
        position,
        program,
        nodes.values(read.get("args"), "args", scope.text),
        name=scope.started(read.get("as"), _called(program)),
        host=scope.host(read.get("on"), "on", CLIENT),
        uid=nodes.value(read.get("uid"), "uid", values.whole(0, _MOST_ID), None),
        gid=nodes.value(read.get("gid"), "gid", values.whole(0, _MOST_ID), None),
        cgroup=nodes.value(read.get("cgroup"), "cgroup", _cgroup, None),
        parents=nodes.values(read.get("parents"), "parents", scope.some_text),
        stdin=nodes.value(read.get("stdin"), "stdin", scope.text, ""),
        background=nodes.value(read.get("background"), "background", values.switch, False),  # noqa: FBT003
        within_ns=nodes.value(read.get("within"), "within", values.duration_ns, RUN_WITHIN_NS),
    )


def _send(position: Position, node: Node, scope: Scope) -> Step | None:
    nodes = scope.nodes
    read = nodes.fields(node, "send", _SEND_KEYS)
    if read is None:
        return None
    host = scope.host(read.get("from"), "from", CLIENT)
    packets = _packets(read, node, scope)
    side = Side.FRAME if "frame" in read or any(map(is_frame, packets)) else Side.IP
    if side is Side.FRAME:
        _check_frames(read, node, scope, host, packets)
    program = _sender(read, scope, host)
    return model.Send(
        position,
        packets,
        host=host,
        side=side,
        interface=scope.interface(read.get("frame"), host),
        program=program,
        name=scope.started(read.get("as"), "" if program is None else _called(program)),
        count=nodes.value(read.get("count"), "count", values.whole(1, MOST_TIMES), 1),
        every_ns=nodes.value(read.get("every"), "every", values.duration_ns, 0),
        within_ns=nodes.value(read.get("within"), "within", values.duration_ns, SENT_WITHIN_NS),
    )


def _packets(read: Mapping[str, Node], node: Node, scope: Scope) -> tuple[Layers, ...]:
    nodes = scope.nodes
    if ("packet" in read) == ("packets" in read):
        refused = Refused("it has one of packet and packets", "write packet: {UDP: {dport: 53}}")
        nodes.refuse(node, "send", refused)
        return ()
    around = read_shape(read, nodes, Shape())
    each = [read["packet"]] if "packet" in read else nodes.items(read["packets"], "packets")
    if not each:
        nodes.refuse(node, "packets", Refused("there is none", "write one or more"))
    return tuple(read_packet(one, nodes, around, framed="frame" in read) for one in each)


def _check_frames(
    read: Mapping[str, Node], node: Node, scope: Scope, host: str, packets: tuple[Layers, ...]
) -> None:
    nodes = scope.nodes
    if host == CLIENT:
        instead = "send it from: router, or without Ether as an IP packet"
        why = "frames come from the network: what the client sends goes through its firewall"
        nodes.refuse(read.get("frame", node), "frame from client", Refused(why, instead))
    if not all(is_frame(each) or each.prefix or not each.layers for each in packets):
        instead = "begin each packet with Ether, or send them in two steps"
        nodes.refuse(node, "send", Refused("it has frames and IP packets", instead))


def _sender(read: Mapping[str, Node], scope: Scope, host: str) -> str | None:
    node = read.get("program")
    program = scope.nodes.value(node, "program", scope.some_text, None)
    if node is None or program is None:
        return None
    names = tuple(values.references(program))
    own = scope.programs.get(names[0]) if len(names) == 1 else None
    if own is None or program not in {f"${own.name}", f"${{{own.name}}}"}:
        refused = Refused("it is one of programs", "write $NAME of one whose binary is python")
        scope.nodes.refuse(node, f"program {quoted(program)}", refused)
    elif not PurePosixPath(own.binary).name.startswith("python"):
        refused = Refused(f"it is a copy of {own.binary}", "write one whose binary is python")
        scope.nodes.refuse(node, f"program {quoted(program)}", refused)
    elif host != CLIENT:
        instead = "leave the program away, or send from: client"
        refused = Refused("whose packets they are only counts on the client", instead)
        scope.nodes.refuse(node, f"program {quoted(program)}", refused)
    return program


def _answer(position: Position, node: Node, scope: Scope) -> Step | None:
    nodes = scope.nodes
    read = nodes.fields(node, "answer", _ANSWER_KEYS)
    if read is None:
        return None
    question = read_fields(read["question"], "question", scope) if "question" in read else {}
    return model.Answer(
        position,
        question,
        action=nodes.value(read.get("action"), "action", values.one_of(list(Say)), "allow"),
        who=nodes.value(read.get("who"), "who", values.one_of(list(Who)), "program"),
        where=nodes.value(read.get("where"), "where", values.one_of(list(Where)), "address-port"),
        duration=nodes.value(read.get("duration"), "duration", values.not_empty, "once"),
        within_ns=nodes.value(read.get("within"), "within", values.duration_ns, ANSWERED_WITHIN_NS),
    )


def _rules(position: Position, node: Node, scope: Scope) -> Step | None:
    if isinstance(node, Scalar):
        return model.NewRules(position, read_rules(node, scope))
    read = scope.nodes.fields(node, "rules", ("text", "refused"), ("text",))
    if read is None or "text" not in read:
        return None
    is_refused = scope.nodes.value(read.get("refused"), "refused", values.switch, False)  # noqa: FBT003
    return model.NewRules(position, read_rules(read["text"], scope), is_refused)


def _firewall(position: Position, node: Node, scope: Scope) -> Step | None:
    deed = scope.nodes.value(node, "firewall", values.one_of(list(FirewallDeed)), None)
    return None if deed is None else model.Daemon(position, FirewallDeed(deed))


def _command(position: Position, node: Node, scope: Scope) -> Step | None:
    nodes = scope.nodes
    read = nodes.fields(node, "command", ("on", "argv", "status"), ("argv",))
    if read is None:
        return None
    argv = nodes.values(read.get("argv"), "argv", scope.text)
    if "argv" in read and not argv:
        nodes.refuse(read["argv"], "argv", Refused("it is empty", "write a program's name in it"))
    host = scope.host(read.get("on"), "on", CLIENT)
    status = nodes.value(read.get("status"), "status", values.whole(0, 255), 0)
    return model.Command(position, host, argv, status)


def _clock(position: Position, node: Node, scope: Scope) -> Step | None:
    if "own-machine" not in scope.needs:
        instead = "write needs: [own-machine] at the top of the file"
        refused = Refused("a scenario without a machine of its own leaves the clock alone", instead)
        scope.nodes.refuse(node, "clock", refused)
    by_ns = scope.nodes.value(node, "clock", values.jump_ns, None)
    return None if by_ns is None else model.ClockJump(position, by_ns)


def _cgroup(text: str) -> str:
    if _CGROUP.fullmatch(text) is None:
        raise Refused("it is a path below the cgroup of the client", "write as in browser")
    return text


def _called(program: str) -> str:
    """Return what a program is called unless the file says so."""
    return PurePosixPath(program.strip("${}")).name


_STEPS: Final[Mapping[str, Callable[[Position, Node, Scope], Step | None]]] = {
    "run": _run,
    "send": _send,
    "answer": _answer,
    "rules": _rules,
    "firewall": _firewall,
    "command": _command,
    "clock": _clock,
    "expect": read_expectation,
}
