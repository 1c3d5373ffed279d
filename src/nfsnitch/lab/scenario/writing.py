"""Scenarios as the text of scenario files, from which `reading` makes the same scenario again."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import yaml

from nfsnitch.adapters.rulefile.problems import Position
from nfsnitch.lab.scenario import model
from nfsnitch.lab.scenario.model import Range, Scenario, Side, Step
from nfsnitch.lab.scenario.standard import STANDARD
from nfsnitch.lab.scenario.writing_packets import packet_written, wanted_written

_Written = dict[str, Any]
_NS_PER_MS: Final = 1_000_000


def as_yaml(scenario: Scenario) -> str:
    """Return the text of a file that says what *scenario* is.

    Raises:
        ValueError: no file can say that: a host or route of the standard network is missing, or
            packets are frames and nothing says so.

    """
    written: _Written = {"shows": scenario.shows}
    for name in ("needs", "options", "lets_by"):
        if each := getattr(scenario, name):
            written[name] = list(each)
    if scenario.fresh:
        written["fresh"] = "true"
    if scenario.network != STANDARD:
        written["network"] = _network(scenario.network)
    if scenario.programs:
        written["programs"] = {each.name: _program(each) for each in scenario.programs}
    if scenario.files:
        written["files"] = dict(scenario.files)
    written["rules"] = scenario.rules
    written["steps"] = [_step(each) for each in scenario.steps]
    return yaml.dump(written, Dumper=_Dumper, sort_keys=False, width=math.inf, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as such, and nothing as an alias of something."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401, ARG002  as the one it overrides
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _text)


def _network(network: model.Network) -> _Written:
    hosts = {each.name: each for each in STANDARD.hosts}
    wires = {each.name: each for each in STANDARD.wires}
    if not hosts.keys() <= {each.name for each in network.hosts}:
        raise ValueError("a host of the standard network is missing, which no file can say")
    if not wires.keys() <= {each.name for each in network.wires}:
        raise ValueError("a wire of the standard network is missing, which no file can say")
    of_hosts = {
        each.name: _host(each, hosts.get(each.name, model.Host(each.name)))
        for each in network.hosts
        if hosts.get(each.name) != each
    }
    of_wires = {each.name: _wire(each) for each in network.wires if wires.get(each.name) != each}
    return {name: each for name, each in (("wires", of_wires), ("hosts", of_hosts)) if each}


def _wire(wire: model.Wire) -> _Written:
    ends = {end.host: {end.name: list(end.addresses)} for end in wire.ends}
    written: _Written = {"ends": ends, "mtu": str(wire.mtu), "delay": _time(wire.delay_ns)}
    written["loss"] = f"{wire.loss:.9f}"
    if wire.vlan is not None:
        written["vlan"] = str(wire.vlan)
    return written


def _host(host: model.Host, before: model.Host) -> _Written:
    if host.routes[: len(before.routes)] != before.routes:
        raise ValueError(f"a standard route of {host.name} is another one, or missing")
    written: _Written = {"services": list(host.services)}
    if more := host.routes[len(before.routes) :]:
        written["routes"] = [{"to": each.to, "via": each.via} for each in more]
    if host.sysctls:
        written["sysctls"] = dict(host.sysctls)
    if host.forwards != before.forwards:
        written["forwards"] = _switch(host.forwards)
    if host.masquerades is not None:
        written["masquerades"] = host.masquerades
    return written


def _program(program: model.Program) -> str | _Written:
    if program.path is None:
        return program.binary
    return {"binary": program.binary, "path": program.path}


def _step(step: Step) -> _Written:
    for kind, (key, written) in _STEPS.items():
        if isinstance(step, kind):
            return {key: written(step)}
    raise ValueError(f"{type(step).__name__} is no step of a file")


def _run(step: model.Run) -> _Written:
    written: _Written = {"program": step.program, "as": step.name, "on": step.host}
    if step.args:
        written["args"] = list(step.args)
    for name in ("uid", "gid"):
        if (number := getattr(step, name)) is not None:
            written[name] = str(number)
    if step.cgroup is not None:
        written["cgroup"] = step.cgroup
    if step.parents:
        written["parents"] = list(step.parents)
    if step.stdin:
        written["stdin"] = step.stdin
    if step.background:
        written["background"] = "true"
    return written | {"within": _time(step.within_ns)}


def _send(step: model.Send) -> _Written:
    written: _Written = {"from": step.host}
    if step.interface is not None:
        if step.side is not Side.FRAME:
            raise ValueError("only frames are sent onto an interface")
        written["frame"] = step.interface
    if step.program is not None:
        written["program"] = step.program
    if step.name and (step.program is None or step.name != step.program.strip("${}")):
        written["as"] = step.name
    written["packets"] = [packet_written(each) for each in step.packets]
    if step.count != 1:
        written["count"] = str(step.count)
    if step.every_ns:
        written["every"] = _time(step.every_ns)
    return written | {"within": _time(step.within_ns)}


def _answer(step: model.Answer) -> _Written:
    return {
        "question": _record(step.question),
        "action": step.action,
        "who": step.who,
        "where": step.where,
        "duration": step.duration,
        "within": _time(step.within_ns),
    }


def _rules(step: model.NewRules) -> str | _Written:
    return {"text": step.text, "refused": "true"} if step.is_refused else step.text


def _command(step: model.Command) -> _Written:
    return {"on": step.host, "argv": list(step.argv), "status": str(step.status)}


def _clock(step: model.ClockJump) -> str:
    return f"{'-' if step.by_ns < 0 else '+'}{_time(abs(step.by_ns))}"


def _expected(step: model.Expectation) -> _Written:
    written = _subject(step)
    if not isinstance(step, model.ExpectEnd):
        written["count"] = step.count.text
    return written | {"within": _time(step.within_ns)}


def _subject(step: model.Expectation) -> _Written:
    if isinstance(step, model.ExpectRecord):
        return {"record": _record(step.fields)}
    if isinstance(step, model.ExpectCounter):
        return {"counter": step.name}
    if isinstance(step, model.ExpectArrived):
        packet = "sent" if step.sent else "arrived"
        written: _Written = {packet: wanted_written(step.packet), "at": step.host}
        return written | ({} if step.interface is None else {"interface": step.interface})
    said = {"status": step.status and step.status.text, "stdout": step.stdout}
    said["stderr"] = step.stderr
    return {"end": step.run} | {name: each for name, each in said.items() if each is not None}


def _record(fields: Mapping[str, Any]) -> _Written:
    return {name: _value(each) for name, each in fields.items()}


def _value(value: Any) -> Any:  # noqa: ANN401  a record's values are of many types
    if isinstance(value, Range):
        return value.text
    if isinstance(value, Mapping):
        return _record(value)
    if isinstance(value, list | tuple):
        return [_value(each) for each in value]
    return str(value)


def _switch(is_so: bool) -> str:  # noqa: FBT001  it is the value that is written
    return "true" if is_so else "false"


def _time(time_ns: int) -> str:
    whole, rest = divmod(time_ns, _NS_PER_MS)
    return f"{whole}.{rest:06d}ms" if rest else f"{whole}ms"


_STEPS: Final[Mapping[type, tuple[str, Callable[[Any], Any]]]] = {
    model.Run: ("run", _run),
    model.Send: ("send", _send),
    model.Answer: ("answer", _answer),
    model.NewRules: ("rules", _rules),
    model.Daemon: ("firewall", lambda step: step.deed.value),
    model.Command: ("command", _command),
    model.ClockJump: ("clock", _clock),
    model.ExpectRecord: ("expect", _expected),
    model.ExpectArrived: ("expect", _expected),
    model.ExpectCounter: ("expect", _expected),
    model.ExpectEnd: ("expect", _expected),
}


def without_positions(scenario: Scenario) -> Scenario:
    """Return the scenario with neither its file's name nor where in it each step stands.

    What two files say is the same if this is.
    """
    nowhere = Position(0, "", 1, 1)
    steps = tuple(_moved(each, nowhere) for each in scenario.steps)
    return dataclasses.replace(scenario, file="", steps=steps)


def _moved(step: Step, position: Position) -> Step:
    moved = dataclasses.replace(step, position=position)
    if isinstance(moved, model.Send):
        packets = (dataclasses.replace(each, position=position) for each in moved.packets)
        return dataclasses.replace(moved, packets=tuple(packets))
    return moved
