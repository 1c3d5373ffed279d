"""What is left of a linker's work: maps, calls of subprograms, and an OR where there was none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfsnitch.adapters.bpf.linking import INSN, LinkError, Program, Subprograms

EXIT = INSN.pack(0x95, 0, 0, 0)
ATOMIC_ADD_32 = INSN.pack(0xC3, 0x21, 8, 0)
ATOMIC_OR_32 = INSN.pack(0xC3, 0x21, 8, 0x40)
ATOMIC_ADD_64 = INSN.pack(0xDB, 0x21, 8, 0)
HELPER_CALL = INSN.pack(0x85, 0, 0, 5)


def nothing(number: int = 0) -> bytes:
    """Return an instruction that can be told from others: r0 = number."""
    return INSN.pack(0xB7, 0, 0, number)


def call(number: int) -> bytes:
    return INSN.pack(0x85, 0x10, 0, number)


def jump(offset: int) -> bytes:
    return INSN.pack(0x05, 0, offset, 0)


def map_of(number: int) -> bytes:
    return INSN.pack(0x18, 0x11, 0, number) + INSN.pack(0, 0, 0, 0)


def subprograms(*bodies: bytes, padding: int = 2) -> tuple[Subprograms, list[int]]:
    """Return them behind some other code, and where each begins."""
    section, places = nothing() * padding, []
    for body in bodies:
        places.append(len(section) // INSN.size)
        section += body

    def read(place: int) -> bytes:
        found = section[place * INSN.size : (place + 1) * INSN.size]
        return found or nothing()  # what lies behind it in memory

    index = b"".join(call(place - 1) for place in places) + EXIT
    return Subprograms(read, index, [f"sub{number}" for number in range(len(bodies))]), places


def called(program: Program) -> list[int]:
    """Return where each call in a program leads."""
    insns = list(INSN.iter_unpack(program.code))
    return [at + 1 + insn[3] for at, insn in enumerate(insns) if insn[:2] == (0x85, 0x10)]


def test_a_program_without_subprograms_is_alone() -> None:
    found, _ = subprograms(nothing(1) + EXIT)

    assert found.linked(nothing(7) + HELPER_CALL + EXIT, []) == (
        nothing(7) + HELPER_CALL + EXIT,
        (0,),
        (),
    )


def test_only_those_subprograms_come_along_that_are_called() -> None:
    found, (_, second) = subprograms(nothing(1) + EXIT, nothing(2) + EXIT)

    program = found.linked(call(second - 1) + EXIT, [])

    assert program.names == ("sub1",)
    assert program.functions == (0, 2)
    assert called(program) == [2]
    assert program.code[2 * INSN.size :] == nothing(2) + EXIT


def test_a_subprogram_brings_those_that_it_calls_itself() -> None:
    # The second calls the first: three back from the instruction behind the call.
    found, (first, second) = subprograms(nothing(1) + EXIT, call(-3) + EXIT)
    assert second - first == 2

    program = found.linked(nothing() + call(second - 1) + EXIT, [])

    assert program.names == ("sub1", "sub0")
    assert program.functions == (0, 3, 5)
    assert called(program) == [3, 5]


def test_a_subprogram_goes_on_behind_an_exit_that_is_jumped_over() -> None:
    body = jump(2) + nothing(1) + EXIT + nothing(2) + EXIT
    found, (place, _) = subprograms(body, nothing(3) + EXIT)

    program = found.linked(call(place - 1) + EXIT, [])

    assert program.code == call(1) + EXIT + body


def test_a_number_that_looks_like_an_exit_is_none() -> None:
    body = INSN.pack(0x18, 0, 0, 5) + INSN.pack(0x95, 0, 0, 0) + EXIT
    found, (place,) = subprograms(body)

    assert found.linked(call(place - 1) + EXIT, []).code.endswith(body)


def test_maps_become_their_descriptors_and_other_numbers_stay() -> None:
    found, (place,) = subprograms(map_of(0) + EXIT)
    plain = INSN.pack(0x18, 0x01, 0, 1) + INSN.pack(0, 0, 0, 0)

    program = found.linked(map_of(1) + plain + call(place - 1) + EXIT, [30, 31])

    assert program.code == map_of(31) + plain + call(1) + EXIT + map_of(30) + EXIT


def test_an_atomic_addition_to_32_bits_was_an_or_and_one_to_64_bits_is_one() -> None:
    found, _ = subprograms(EXIT)

    program = found.linked(ATOMIC_ADD_32 + ATOMIC_ADD_64 + EXIT, [])

    assert program.code == ATOMIC_OR_32 + ATOMIC_ADD_64 + EXIT


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (map_of(2) + EXIT, "no map of number 2"),
        (map_of(-1) + EXIT, "no map of number -1"),
        (call(40) + EXIT, "instruction 41, where no subprogram begins"),
        (INSN.pack(0xC3, 0x21, 8, 0xE1) + EXIT, "of kind 0xe1"),
        (EXIT + b"x", "no whole number"),
    ],
)
def test_what_leads_nowhere_is_an_error_that_says_where(code: bytes, why: str) -> None:
    found, _ = subprograms(EXIT)

    with pytest.raises(LinkError, match=why):
        found.linked(code, [30, 31])


def test_subprograms_that_are_not_all_there_are_an_error() -> None:
    with pytest.raises(LinkError, match="1 subprograms were compiled, not 2"):
        Subprograms(lambda _: EXIT, call(1) + EXIT, ["one", "two"])
    with pytest.raises(LinkError, match="has no end"):
        Subprograms(lambda _: nothing(), call(1) + EXIT, ["one"])


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=5),
    st.lists(st.integers(0, 4), max_size=6),
    st.integers(0, 3),
)
def test_every_call_leads_to_what_it_led_to_before(
    lengths: list[int], calls: list[int], padding: int
) -> None:
    bodies = [nothing(number + 1) * (length + 1) + EXIT for number, length in enumerate(lengths)]
    wanted = [number % len(bodies) for number in calls]
    found, places = subprograms(*bodies, padding=padding)

    program = found.linked(b"".join(call(places[each] - 1) for each in wanted) + EXIT, [])

    leads_to = [program.code[at * INSN.size :][: INSN.size] for at in called(program)]
    assert leads_to == [nothing(each + 1) for each in wanted]
    assert set(program.names) == {f"sub{each}" for each in wanted}
