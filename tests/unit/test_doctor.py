"""What the doctor makes of the answers, and how it shows them."""

from __future__ import annotations

import io

import pytest

from nfsnitch.adapters.answer import Answer, State
from nfsnitch.adapters.asking import ask
from nfsnitch.adapters.kernel_probe import PROBES
from nfsnitch.commands import doctor as module
from nfsnitch.commands.doctor import ESSENTIAL, TRIED, Check, Result, doctor, examine, judge

ALL_OK = {name: State.OK for group in ESSENTIAL for name in group}


def test_with_everything_there_it_works_with_the_best() -> None:
    assert judge(ALL_OK) == (True, "lsm", "nft", [], "core")


@pytest.mark.parametrize("group", ESSENTIAL, ids="-or-".join)
def test_it_cannot_work_if_all_ways_to_one_thing_are_missing(group: tuple[str, ...]) -> None:
    one_left = ALL_OK | dict.fromkeys(group[:-1], State.MISSING)
    none_left = ALL_OK | dict.fromkeys(group, State.MISSING)

    assert judge(one_left).works is True
    assert judge(none_left).works is False
    assert judge(none_left).missing == list(group)


def test_what_could_not_be_tried_leaves_it_open() -> None:
    assert judge(ALL_OK | {"nfqueue": State.UNKNOWN}).works is None
    assert judge(ALL_OK | {"nfqueue": State.UNKNOWN, "libbpf": State.MISSING}).works is False
    assert judge(ALL_OK | {"nft-queue": State.UNKNOWN}).queueing == "xtables"


def test_without_a_description_of_its_types_a_kernel_is_compiled_for_by_bcc() -> None:
    assert judge(ALL_OK | {"btf": State.MISSING}).loader == "bcc"
    assert judge(ALL_OK | {"btf": State.MISSING}).works is True
    assert judge(ALL_OK | {"bcc": State.MISSING}).loader == "core"
    assert judge(ALL_OK | {"btf": State.MISSING, "bcc": State.MISSING}).missing == ["btf", "bcc"]


def test_every_probe_has_a_line_in_the_table() -> None:
    assert {check.name for check in TRIED} == set(PROBES)


def test_every_check_says_what_it_means_and_answers_on_any_machine() -> None:
    results = examine(())

    assert len({result.check.name for result in results}) == len(results)
    for result in results:
        assert result.check.means
        assert result.answer.detail
    known = {result.check.name for result in results}
    assert all(known & set(group) for group in ESSENTIAL)


def test_a_process_that_cannot_probe_is_quoted() -> None:
    answers = ask(module="nfsnitch.no_such_module")

    assert answers.by_name == {}
    assert "no_such_module" in answers.problem


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(name="one_answer")
def fixture_one_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Answer(State.MISSING, "a name with \x1b[31m in it")
    result = Result(Check("nfqueue", "packets wait", "load it"), answer)
    monkeypatch.setattr(module, "examine", lambda _rules: [result])


@pytest.mark.usefixtures("one_answer")
def test_only_a_terminal_gets_colours_and_nobody_what_a_program_calls_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal, file, plain = Terminal(), io.StringIO(), Terminal()
    for stream in (terminal, file):
        assert doctor((), stream, as_json=False) == 1
    monkeypatch.setenv("NO_COLOR", "1")
    doctor((), plain, as_json=False)

    assert terminal.getvalue().startswith("\x1b[31mmissing  \x1b[0mnfqueue")
    assert "\\x1b[31m in it" in terminal.getvalue()
    assert "to get more: load it" in file.getvalue()
    for stream in (file, plain):
        assert "\x1b" not in stream.getvalue()
