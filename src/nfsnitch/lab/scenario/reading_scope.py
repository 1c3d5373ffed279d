"""What the steps of a scenario may refer to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from nfsnitch.adapters.rulefile.document import Node
from nfsnitch.adapters.rulefile.problems import Refused, quoted
from nfsnitch.lab.scenario import reading_values as values
from nfsnitch.lab.scenario.model import Program
from nfsnitch.lab.scenario.reading_nodes import Nodes

FOLDER = "folder"
"""``$folder`` is the scenario's own folder, with its files and programs in it."""


@dataclass(slots=True)
class Scope:
    """Names that have been read so far, and the nodes' reader."""

    nodes: Nodes
    programs: Mapping[str, Program]
    places: Collection[str]
    """What ``$NAME`` may stand for."""
    interfaces: Mapping[str, Collection[str]]
    """Of each host."""
    needs: Collection[str] = ()
    runs: dict[str, int] = field(default_factory=dict)
    """Names of programs that steps have started, and how many have each."""

    def text(self, text: str) -> str:
        """Return *text*, in which each ``$NAME`` stands for something."""
        for name in values.references(text):
            values.known_place(name, self.places)
        return text

    def some_text(self, text: str) -> str:
        """Return *text*, which is not empty either."""
        return self.text(values.not_empty(text))

    def host(self, node: Node | None, what: str, otherwise: str) -> str:
        """Return the name of a host."""
        return self.nodes.value(node, what, values.known("host", self.interfaces), otherwise)

    def interface(self, node: Node | None, host: str) -> str | None:
        """Return the name of an interface of *host*."""
        known = values.known(f"interface of {host}", self.interfaces.get(host, ()))
        return self.nodes.value(node, "interface", known, None)

    def started(self, node: Node | None, otherwise: str) -> str:
        """Return the name of a program that is started, *otherwise* unless the file gives one."""
        name = self.nodes.value(node, "as", values.name, otherwise)
        if node is not None and name in self.runs:
            refused = Refused("an earlier step has that name", "write another one")
            self.nodes.refuse(node, f"as {quoted(name)}", refused)
        if name:
            self.runs[name] = self.runs.get(name, 0) + 1
        return name

    def run(self, text: str) -> str:
        """Return the name of a program that one earlier step has started."""
        values.known("program started by an earlier step", self.runs)(text)
        if self.runs[text] > 1:
            raise Refused("several steps have started one", "give each a name by as: and write it")
        return text
