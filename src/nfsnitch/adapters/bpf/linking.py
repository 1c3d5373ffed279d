"""Makes whole programs of what bcc has compiled: the part of a linker's work that is left to do.

bcc hands out the instructions of each section as they are before relocation. In them

- a map is an instruction ``BPF_LD | BPF_IMM | BPF_DW`` of the kind ``BPF_PSEUDO_MAP_FD`` whose
  number is the one that map_ids.h gives to the map;
- a call of a subprogram, all of which share one section, has its place in that section, less one,
  instead of a distance (so LLVM's assembler refers to what is local to another section);
- an atomic OR of 32 bits is an atomic addition (see bpf/bcc.h).

See ``linux/bpf.h`` for the instructions and Documentation/bpf/standardization/instruction-set.rst.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from typing import NamedTuple

INSN = Struct("=BBhi")
"""``struct bpf_insn``: code, registers (the source in the upper four bits), offset, number."""

_LOAD_64, _CALL, _EXIT, _ADD_TO_32 = 0x18, 0x85, 0x95, 0xC3
_CLASS, _JUMPS = 0x07, (0x05, 0x06)
_PSEUDO_MAP_FD = _PSEUDO_CALL = 1
_OR = 0x40
_MOST = 100_000
"""Instructions of a subprogram; the verifier looks at a million."""


class LinkError(Exception):
    """The compiled code is not what this module knows; the message says what it met."""


class Program(NamedTuple):
    """Instructions as the kernel takes them."""

    code: bytes
    functions: tuple[int, ...]
    """Where its functions begin, in instructions: first itself, then the subprograms it has."""
    names: tuple[str, ...]
    """The names of these subprograms, in that order."""


class Insn(NamedTuple):
    """One instruction."""

    code: int
    registers: int
    offset: int
    number: int

    @property
    def source(self) -> int:
        """Return the number of the source register, which tells kinds of instructions apart."""
        return self.registers >> 4

    @property
    def is_local_call(self) -> bool:
        """Whether it calls a subprogram."""
        return self.code == _CALL and self.source == _PSEUDO_CALL


class Subprograms:
    """The section that all subprograms share."""

    def __init__(self, read: Callable[[int], bytes], index: bytes, names: Sequence[str]) -> None:
        """*read* returns the instruction at a place in the section, whose length nobody tells.

        *index* is a function that calls each of *names*, in that order.

        Raises:
            LinkError: it does not, or a subprogram has no end.

        """
        places = [_place(each) for each in _instructions(index) if each.is_local_call]
        if len(places) != len(names) or len(set(places)) != len(names):
            raise LinkError(f"{len(set(places))} subprograms were compiled, not {len(names)}")
        self._names = dict(zip(places, names, strict=True))
        self._bodies = {place: _body(read, place) for place in places}

    @property
    def end(self) -> int:
        """Return the place behind the last of them."""
        return max((place + len(body) for place, body in self._bodies.items()), default=0)

    def linked(self, code: bytes, map_fds: Sequence[int]) -> Program:
        """Return a program with the subprograms that it needs, and the descriptors of its maps.

        Raises:
            LinkError: it refers to something that is not there.

        """
        own = _instructions(code)
        chosen = self._needed_by(own)
        begins, whole = {}, list(own)
        old_places = list(range(len(own)))
        for place in chosen:
            begins[place] = len(whole)
            whole += self._bodies[place]
            old_places += range(place, place + len(self._bodies[place]))
        for at, insn in enumerate(whole):
            if insn.is_local_call:
                # In its own section, the assembler has put in the distance.
                called = _place(insn) if at < len(own) else old_places[at] + _place(insn)
                whole[at] = insn._replace(number=begins[called] - at - 1)
        finished = (_with_map(_with_or(each), map_fds) for each in whole)
        return Program(
            b"".join(INSN.pack(*each) for each in finished),
            (0, *begins.values()),
            tuple(self._names[place] for place in chosen),
        )

    def _needed_by(self, program: Sequence[Insn]) -> list[int]:
        """Return the places of the subprograms that it calls, and those that these call."""
        found: dict[int, None] = {}
        waiting = [_place(each) for each in program if each.is_local_call]
        while waiting:
            place = waiting.pop(0)
            if place in found:
                continue
            if place not in self._bodies:
                raise LinkError(f"a call leads to instruction {place}, where no subprogram begins")
            found[place] = None
            for at, insn in enumerate(self._bodies[place], place):
                if insn.is_local_call:
                    waiting.append(at + _place(insn))
        return list(found)


def _body(read: Callable[[int], bytes], place: int) -> list[Insn]:
    """Read up to the `exit` behind which no jump leads."""
    body: list[Insn] = []
    furthest = 0
    while len(body) < _MOST:
        at = len(body)
        body.append(Insn._make(INSN.unpack(read(place + at))))
        insn = body[-1]
        if insn.code == _LOAD_64:  # takes two
            body.append(Insn._make(INSN.unpack(read(place + at + 1))))
        elif insn.code & _CLASS in _JUMPS and insn.code not in (_CALL, _EXIT):
            furthest = max(furthest, at + 1 + insn.offset)
        elif insn.code == _EXIT and at >= furthest:
            return body
    raise LinkError(f"the subprogram at instruction {place} has no end")


def _place(call: Insn) -> int:
    return call.number + 1


def _instructions(raw: bytes) -> list[Insn]:
    if len(raw) % INSN.size:
        raise LinkError(f"{len(raw)} bytes are no whole number of instructions")
    return [Insn._make(fields) for fields in INSN.iter_unpack(raw)]


def _with_or(insn: Insn) -> Insn:
    if insn.code != _ADD_TO_32:
        return insn
    if insn.number:
        raise LinkError(f"an atomic operation on 32 bits of kind {insn.number:#x}")
    return insn._replace(number=_OR)


def _with_map(insn: Insn, map_fds: Sequence[int]) -> Insn:
    if insn.code != _LOAD_64 or insn.source != _PSEUDO_MAP_FD:
        return insn
    if not 0 <= insn.number < len(map_fds):
        raise LinkError(f"there is no map of number {insn.number}")
    return insn._replace(number=map_fds[insn.number])
