"""What a process of ours that reads rule files tells the daemon, in small pieces.

A piece is a letter, a length and so many bytes. Each takes about a millisecond at most to be taken
in: the interpreter does nothing else meanwhile, and packets wait. What is read is only ever from a
process that the daemon has started itself; even so it may name only classes of rules.
"""

from __future__ import annotations

import io
import marshal
import pickle
from collections.abc import Callable, Iterator
from enum import Enum
from struct import Struct
from typing import IO, Any

from nfsnitch.core.listing import NamedList
from nfsnitch.core.rule import Condition

MOST_BYTES = 512 * 1024 * 1024
"""Of all pieces together."""
_HEAD = Struct("=cI")
_MODULES = ("nfsnitch.core.", "nfsnitch.adapters.rulefile.")
_BUILTINS = frozenset({"frozenset", "set"})


class Kind(Enum):
    """What a piece is."""

    WARNING = b"w"
    """A text."""
    PROBLEM = b"p"
    """A text: the files are not taken; nothing comes after it."""
    ATTRIBUTES = b"a"
    """What the ruleset has beside rules."""
    CONDITION = b"c"
    """One that rules of further pieces have."""
    RULES = b"r"
    """Rules that are not read from their texts, each with its number."""
    REST = b"x"
    """All else but the indexes."""
    FLOWS = b"f"
    """A part of the index that is asked of flows (`core.index_parts`)."""
    QUESTIONS = b"q"
    """The same of questions for names."""
    END = b"."


class HandingError(Exception):
    """What came is not what was to come."""


class Sender:
    """Sends pieces."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._conditions: dict[int, int] = {}
        self._kept: list[Condition] = []

    def text(self, kind: Kind, text: str) -> None:
        """Send a text."""
        self._send(kind, text.encode("utf-8", "surrogatepass"))

    def part(self, kind: Kind, part: tuple[Any, ...]) -> None:
        """Send what is made of tuples, lists, numbers, texts and bytes."""
        self._send(kind, marshal.dumps(part))

    def thing(self, kind: Kind, thing: object) -> None:
        """Send anything; a list goes with the attributes, and later stands as its name."""
        buffer = io.BytesIO()
        pickler = _Pickler(buffer, self._conditions, lists_by_name=kind is not Kind.ATTRIBUTES)
        pickler.dump(thing)
        self._send(kind, buffer.getvalue())

    def condition(self, condition: Condition) -> None:
        """Send a condition, unless it was sent before."""
        if id(condition) not in self._conditions:
            self.thing(Kind.CONDITION, condition)
            self._conditions[id(condition)] = len(self._kept)
            self._kept.append(condition)

    def _send(self, kind: Kind, content: bytes) -> None:
        self._out.write(_HEAD.pack(kind.value, len(content)))
        self._out.write(content)


class Receiver:
    """Takes pieces."""

    def __init__(self, source: IO[bytes], most_bytes: int = MOST_BYTES) -> None:
        self._source = source
        self._left = most_bytes
        self._conditions: list[Condition] = []
        self.lists: dict[str, NamedList] = {}
        """To be set once the attributes have come."""

    def pieces(self) -> Iterator[tuple[Kind, Any]]:
        """Yield what comes, up to the end or a problem.

        Raises:
            HandingError: it is nothing that a `Sender` sends, or it is too much.

        """
        while True:
            head = self._source.read(_HEAD.size)
            if len(head) < _HEAD.size:
                raise HandingError("it ended before it was done")
            letter, length = _HEAD.unpack(head)
            self._left -= length
            if self._left < 0:
                raise HandingError("it takes too much memory")
            content = self._source.read(length)
            if len(content) < length:
                raise HandingError("it ended before it was done")
            kind = Kind(letter)
            if kind is Kind.CONDITION:
                self._conditions.append(self._thing(content))
            else:
                yield kind, _READERS.get(kind, Receiver._thing)(self, content)
            if kind in {Kind.END, Kind.PROBLEM}:
                return

    def _text(self, content: bytes) -> str:
        return content.decode("utf-8", "surrogatepass")

    def _part(self, content: bytes) -> Any:  # noqa: ANN401  any part
        return marshal.loads(content)  # noqa: S302  of our own process

    def _thing(self, content: bytes) -> Any:  # noqa: ANN401  anything
        return _Unpickler(io.BytesIO(content), self._conditions, self.lists).load()


_READERS: dict[Kind, Callable[[Receiver, bytes], Any]] = {
    Kind.WARNING: Receiver._text,  # noqa: SLF001
    Kind.PROBLEM: Receiver._text,  # noqa: SLF001
    Kind.FLOWS: Receiver._part,  # noqa: SLF001
    Kind.QUESTIONS: Receiver._part,  # noqa: SLF001
    Kind.END: Receiver._text,  # noqa: SLF001
}


class _Pickler(pickle.Pickler):
    def __init__(self, out: io.BytesIO, conditions: dict[int, int], *, lists_by_name: bool) -> None:
        super().__init__(out, pickle.HIGHEST_PROTOCOL)
        self._conditions, self._lists_by_name = conditions, lists_by_name

    def reducer_override(self, obj: object) -> Any:  # noqa: ANN401  as pickle has it
        """Have members of enumerations made by their values: by name it would take `getattr`."""
        return (type(obj), (obj.value,)) if isinstance(obj, Enum) else NotImplemented

    def persistent_id(self, obj: object) -> int | str | None:
        """Return what stands for an object that was sent before."""
        if self._lists_by_name and type(obj) is NamedList:
            return obj.definition.name
        return self._conditions.get(id(obj))


class _Unpickler(pickle.Unpickler):
    def __init__(
        self, source: io.BytesIO, conditions: list[Condition], lists: dict[str, NamedList]
    ) -> None:
        super().__init__(source)
        self._conditions, self._lists = conditions, lists

    def persistent_load(self, pid: Any) -> object:  # noqa: ANN401  as pickle has it
        """Return what came before."""
        return self._lists[pid] if isinstance(pid, str) else self._conditions[pid]

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401  as pickle has it
        """Return a class or a function of rules."""
        if not module.startswith(_MODULES) and not (module == "builtins" and name in _BUILTINS):
            raise HandingError(f"it speaks of {module}.{name}")
        return super().find_class(module, name)
