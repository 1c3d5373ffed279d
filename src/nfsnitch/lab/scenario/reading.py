"""Scenario files: YAML in, `model.Scenario` out, or everything that is wrong with them.

``$NAME`` of a program or file is checked wherever it will be replaced: in rules, options, files,
arguments, commands, standard input, and in what is expected of records and of what programs print.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from nfsnitch.adapters.rulefile.document import Form, Node, Scalar, parse
from nfsnitch.adapters.rulefile.files import Source, note_unprintable, read_source
from nfsnitch.adapters.rulefile.problems import Problems, Refused, quoted
from nfsnitch.lab.scenario import reading_values as values
from nfsnitch.lab.scenario.model import NEEDS, Expectation, Program, Scenario
from nfsnitch.lab.scenario.reading_expectations import COUNTERS
from nfsnitch.lab.scenario.reading_network import interfaces, read_network
from nfsnitch.lab.scenario.reading_nodes import Nodes
from nfsnitch.lab.scenario.reading_scope import FOLDER, Scope
from nfsnitch.lab.scenario.reading_steps import read_rules, read_steps
from nfsnitch.lab.scenario.reading_values import substituted

__all__ = ["FOLDER", "load", "load_text", "substituted"]

FORM: Final = Form(
    "a scenario file",
    "scenario",
    "shows: what it shows, rules: and steps:",
    "what a scenario says",
    has_lines=True,
)
_REQUIRED = ("shows", "rules", "steps")
_KEYS = (
    *("shows", "needs", "fresh", "options", "lets_by", "network", "programs", "files"),
    *("rules", "steps"),
)
_FILE = re.compile(r"[A-Za-z](?:[A-Za-z0-9_.-]{0,60}[A-Za-z0-9_])?", re.ASCII)
_PATH = re.compile(r"[A-Za-z0-9_+.-]{1,100}(?:/[A-Za-z0-9_+.-]{1,100}){0,15}", re.ASCII)


def load(path: Path) -> Scenario:
    """Return the scenario in the file at *path*.

    Raises:
        RuleFileError: it cannot be read, or something is wrong with it.

    """
    problems = Problems()
    source = read_source(path, problems, "scenario file")
    problems.check()
    if source is None:
        raise AssertionError("a file that cannot be read is a problem")
    return load_text(source)


def load_text(source: Source) -> Scenario:
    """Return the scenario in the text of one file.

    Raises:
        RuleFileError: something is wrong with it.

    """
    problems = Problems()
    note_unprintable(source, problems)
    problems.check()
    root = parse(source, problems, FORM)
    scenario = None if root is None else _scenario(source, root, Nodes(problems))
    problems.check()
    if scenario is None:
        raise AssertionError("a file without a scenario has a problem")
    return scenario


def _scenario(source: Source, root: Node, nodes: Nodes) -> Scenario | None:
    read = nodes.fields(root, "scenario", _KEYS, _REQUIRED)
    if read is None:
        return None
    network = read_network(read.get("network"), nodes)
    programs = _programs(read.get("programs"), nodes)
    files = _files(read.get("files"), programs, nodes)
    for name, text in files.items():
        _check_content(name, text, {*programs, *files, FOLDER}, read["files"], nodes)
    needs = nodes.values(read.get("needs"), "needs", values.known("need", NEEDS))
    scope = Scope(nodes, programs, {*programs, *files, FOLDER}, interfaces(network), needs)
    steps = read_steps(read["steps"], scope) if "steps" in read else ()
    if "steps" in read and not any(isinstance(step, Expectation) for step in steps):
        refused = Refused("it expects nothing, and so cannot fail", "write a step with expect:")
        nodes.refuse(read["steps"], "steps", refused)
    return Scenario(
        file=source.name,
        shows=nodes.value(read.get("shows"), "shows", _sentence, ""),
        network=network,
        rules=read_rules(read["rules"], scope) if "rules" in read else "",
        programs=tuple(programs.values()),
        files=files,
        steps=steps,
        needs=needs,
        options=nodes.values(read.get("options"), "options", scope.text),
        fresh=nodes.value(read.get("fresh"), "fresh", values.switch, False),  # noqa: FBT003
        lets_by=nodes.values(read.get("lets_by"), "lets_by", values.known("counter", COUNTERS)),
    )


def _programs(node: Node | None, nodes: Nodes) -> dict[str, Program]:
    if node is None:
        return {}
    found = {}
    for name, each in nodes.named(node, "program", _program_name, "{good: curl}").items():
        if isinstance(each, Scalar):
            binary, path = nodes.value(each, "program", values.not_empty, ""), None
        else:
            read = nodes.fields(each, f"program {name}", ("binary", "path"), ("binary",)) or {}
            binary = nodes.value(read.get("binary"), "binary", values.not_empty, "")
            path = nodes.value(read.get("path"), "path", _path_below, None)
        found[name] = Program(name, binary, path)
    _check_paths(found, node, nodes)
    return found


def _check_paths(programs: Mapping[str, Program], node: Node, nodes: Nodes) -> None:
    """Note programs of which one is where another one is, or would have its directory."""
    taken: dict[PurePosixPath, str] = {}
    for program in programs.values():
        path = PurePosixPath(program.path or program.name)
        for other, name in taken.items():
            if path == other or path in other.parents or other in path.parents:
                refused = Refused(f"program {name} is there", "write another path")
                nodes.refuse(node, f"path {quoted(str(path))}", refused)
        taken[path] = program.name


def _files(node: Node | None, programs: Collection[str], nodes: Nodes) -> dict[str, str]:
    if node is None:
        return {}

    def name(text: str) -> str:
        if _FILE.fullmatch(text) is None:
            why = "a file's name has letters, digits, - _ and ., and begins with a letter"
            raise Refused(why, "write as in block.list")
        if text in programs or text == FOLDER:
            raise Refused(f"${text} is something else", "write another name")
        return text

    read = nodes.named(node, "file", name, "{block.list: tracker.example}")
    return {each: nodes.value(value, f"file {each}", str, "") for each, value in read.items()}


def _check_content(name: str, text: str, places: Collection[str], node: Node, nodes: Nodes) -> None:
    for called in values.references(text):
        try:
            values.known_place(called, places)
        except Refused as refused:
            nodes.refuse(node, f"file {name}", refused)


def _program_name(text: str) -> str:
    if values.name(text) == FOLDER:
        raise Refused("$folder is the scenario's folder", "write another name")
    return text


def _path_below(text: str) -> str:
    if _PATH.fullmatch(text) is None or not set(text.split("/")).isdisjoint({".", ".."}):
        raise Refused("it is a path below the scenario's folder", "write as in opt/odd/agent")
    return text


def _sentence(text: str) -> str:
    if "\n" in text.strip() or not text.strip():
        raise Refused("it is one sentence", "write on one line what the scenario shows")
    return text.strip()
