"""Large rule files are read by a process of its own, and what comes back is what stands in them."""

import io
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import builders
import random_rules
import written_files
from nfsnitch.adapters.rulefile import RuleFileError, load, reading_process, system_names
from nfsnitch.adapters.rulefile import reading_helper as helper
from nfsnitch.adapters.rulefile import written_rules as written
from nfsnitch.adapters.rulefile.files import read_raw
from nfsnitch.adapters.rulefile.handing_over import HandingError, Kind, Receiver, Sender
from nfsnitch.adapters.rulefile.loading import ReadingError, load_apart
from nfsnitch.adapters.rulefile.problems import Problems
from nfsnitch.adapters.rulefile.reading_process import Job
from nfsnitch.core import rule_index, ruleset
from nfsnitch.core.pattern import paths
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.reload import Loaded, NotLoaded, load_whole

_seeds = st.integers(0, 1 << 62)
HEAD = "version: 1\nunanswered: reject\nrules:\n"
ODD = """\
groups: {office: [192.0.2.0/24, 198.51.100.7]}
lists: {ads: {file: /var/lib/ads.txt}}
on_unknown_name: reject
rules:
  - {name: by group, action: deny, daddr: office}
  - {name: by user, action: allow, user: root}
  - {name: by list, action: deny, list: ads}
  - {name: 'quoted', action: deny, host: example.org, dns: refuse}
  - {name: at night, action: deny, schedule: 22:00-06:00}
  - {name: by glob, action: deny, exe: /opt/**, args: "x+"}
  - {name: off, action: allow, enabled: false}
  - {name: packets, action: deny, proto: packet}
  - {name: absent, action: deny, user: nobody-of-this-name}
"""
KNOWN_OF_ALL = (
    "asks_script",
    "asks_identity",
    "asks_names",
    "asks_cgroup",
    "refuses_questions",
    "says_the_same_again",
)


def passed_on(path: Path) -> tuple[Ruleset | None, list[str]]:
    """Return what arrives of a file; within this process. And what is said of it."""
    problems = Problems()
    files = read_raw([path], problems)
    pipe = io.BytesIO()
    job = Job(tuple((each.order, str(each.path), len(each.content)) for each in files), (), 1)
    helper.read(job, files, Sender(pipe))
    pipe.seek(0)
    receiver = Receiver(pipe)
    texts: list[str] = []
    try:
        return reading_process.received(receiver, files, texts.append), texts
    except RuleFileError as error:
        return None, [str(error)]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(_seeds, st.booleans(), st.sampled_from([0, 16]))
def test_what_is_passed_on_is_what_stands_in_the_file(
    tmp_path: Path,
    seed: int,
    wrong: bool,  # noqa: FBT001
    fewest: int,
) -> None:
    chance = random_rules.chance_by(seed)
    path = tmp_path / "rules.yaml"
    path.write_text(written_files.written_file(chance, wrong=wrong), encoding="utf-8")
    warnings: list[str] = []
    here: Ruleset | str
    with (
        patch.object(ruleset, "FEWEST_RULES", fewest),
        patch.object(reading_process, "FEWEST_RULES", fewest),
        patch.object(rule_index, "_FEW", 0),
        patch.object(written, "MOST_READ", 3),
        patch("nfsnitch.adapters.rulefile.loader.LARGE_CHARACTERS", 0),
    ):
        there, texts = passed_on(path)
        try:
            here = load([path], system_names(), lambda each: warnings.append(str(each)))
        except RuleFileError as error:
            here = str(error)
    if there is None or isinstance(here, str):
        assert there is None
        assert texts == [here]
        return
    assert texts == warnings
    assert written_files.said(there) == written_files.said(here)
    assert [getattr(there, name) for name in KNOWN_OF_ALL] == [
        getattr(here, name) for name in KNOWN_OF_ALL
    ]
    assert [each.name for each in there.on_openings] == [each.name for each in here.on_openings]
    assert there.rules[1:3] == tuple(there.rules)[1:3]
    cases = [random_rules.case(chance) for _ in range(20)]
    for case in cases:
        assert there.rule_on(case) == here.rule_on(case)
        if here.refuses_questions:
            one, other = there.rule_on_question(case), here.rule_on_question(case)
            assert (one and one.name) == (other and other.name)
    assert there.next_change_ns(cases[0].now) == here.next_change_ns(cases[0].now)


@pytest.fixture
def large(tmp_path: Path) -> Callable[[str, str], Path]:
    """Return what writes a file that is large, with something before and after its plain rules."""

    def write(head: str, end: str = "") -> Path:
        path = tmp_path / "rules.yaml"
        fields = "action: allow, exe: /usr/bin/app, dport:"
        plain = "".join(f"  - {{name: rule {at}, {fields} {at + 1}}}\n" for at in range(5_000))
        path.write_text(f"{head}{plain}{end}")
        return path

    return write


def test_a_large_file_is_read_by_a_process_of_its_own(large: Callable[[str, str], Path]) -> None:
    path = large(ODD, "  - {name: last, action: deny, host: example.net}\n")
    warnings: list[str] = []
    with patch.object(subprocess, "Popen", wraps=subprocess.Popen) as popen:
        there = load_apart([path], system_names(), lambda each: warnings.append(str(each)))
    here = load([path], system_names())

    assert popen.call_count == 1
    assert isinstance(there.rules, written.WrittenRules)
    assert written_files.said(there) == written_files.said(here)
    assert [warning.split(": ")[2] for warning in warnings] == ["user 'nobody-of-this-name'"]
    assert there.refuses_questions


@pytest.mark.parametrize(
    ("field", "same_again", "by_cgroup", "for_program"),
    [
        ("dport: 1", True, False, True),
        ("sport: 4000", False, False, True),
        ("cgroup: /a", True, True, True),
        ("saddr: 10.0.0.1", True, False, False),
        ("host: a.test", True, False, False),
    ],
)
def test_what_many_rules_look_at_is_known_of_the_last_of_them_as_well(
    large: Callable[[str, str], Path],
    field: str,
    same_again: bool,  # noqa: FBT001  of a table
    by_cgroup: bool,  # noqa: FBT001
    for_program: bool,  # noqa: FBT001
) -> None:
    path = large("rules:\n", f"  - {{name: last, action: deny, {field}}}\n")
    there = load_apart([path], system_names(), lambda _: None)

    assert (there.says_the_same_again, there.asks_cgroup) == (same_again, by_cgroup)
    # An index that leaves rules out for the source or a name says nothing of other flows.
    assert (there.of_program(builders.case()) is not None) == for_program


def test_what_a_rule_that_is_switched_off_looks_at_does_not_count(
    large: Callable[[str, str], Path],
) -> None:
    off = "  - {name: off, action: deny, sport: 4000, enabled: false}\n"
    path = large("rules:\n", off)
    assert load_apart([path], system_names(), lambda _: None).says_the_same_again

    path = large("rules:\n", f"{off}  - {{name: on, action: deny, sport: 4000}}\n")
    assert not load_apart([path], system_names(), lambda _: None).says_the_same_again


def test_what_rules_say_of_a_list_is_said_of_the_list_that_the_ruleset_has(
    large: Callable[[str, str], Path],
) -> None:
    there = load_apart([large(ODD, "")], system_names(), lambda _: None)
    by_list: Any = next(rule for rule in there.rules if rule.name == "by list").conditions[0]
    assert by_list.lists[0] is there.lists[0]


def test_a_small_file_is_read_without_another_process(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(ODD)
    with patch.object(subprocess, "Popen") as popen:
        assert isinstance(load_whole([path]), Loaded)
    assert not popen.called


def test_what_is_wrong_with_a_large_file_is_told_in_the_same_words(
    large: Callable[[str, str], Path],
) -> None:
    path = large(HEAD, "  - {name: last, action: alow, dport: 70000}\n  - {name: rule 7}\n")
    with pytest.raises(RuleFileError) as told:
        load([path], system_names())
    loaded = load_whole([path, path.with_name("missing.yaml")])

    assert isinstance(loaded, NotLoaded)
    assert f"{path}:5004:26: action 'alow'" in loaded.problem
    assert loaded.problem.startswith(str(told.value))
    assert "missing.yaml:1:1: rule file: it cannot be read" in loaded.problem


def test_where_the_process_fails_the_rules_are_refused(large: Callable[[str, str], Path]) -> None:
    path = large(HEAD, "")
    with patch.object(reading_process, "_MODULE", "nfsnitch.core.text"):
        loaded = load_whole([path])
    assert isinstance(loaded, NotLoaded)
    assert "the process that reads them failed (status 0)" in loaded.problem


def test_where_no_process_can_be_started_the_rules_are_refused(
    large: Callable[[str, str], Path],
) -> None:
    with (
        patch.object(sys, "executable", "/no/python"),
        pytest.raises(ReadingError, match="could be started"),
    ):
        load_apart([large(HEAD, "")], system_names(), lambda _: None)


def test_nothing_is_taken_that_is_no_part_of_rules() -> None:
    pipe = io.BytesIO()
    Sender(pipe).thing(Kind.REST, subprocess.Popen)
    pipe.seek(0)
    with pytest.raises(HandingError, match=r"it speaks of subprocess\.Popen"):
        list(Receiver(pipe).pieces())


@pytest.mark.parametrize(("cut", "why"), [(2, "ended"), (9, "ended")])
def test_what_is_cut_off_is_not_taken(cut: int, why: str) -> None:
    pipe = io.BytesIO()
    Sender(pipe).text(Kind.WARNING, "a text that is longer")
    with pytest.raises(HandingError, match=why):
        list(Receiver(io.BytesIO(pipe.getvalue()[:cut])).pieces())


def test_only_so_much_is_taken() -> None:
    pipe = io.BytesIO()
    Sender(pipe).text(Kind.WARNING, "x" * 1_000)
    pipe.seek(0)
    with pytest.raises(HandingError, match="too much memory"):
        list(Receiver(pipe, 999).pieces())


def test_patterns_are_passed_on_as_what_they_were_made_of() -> None:
    made = pickle.loads(pickle.dumps(paths(["/a", r"/b\*", "/c/*"])))  # noqa: S301
    assert (made.exact, made.globs) == (frozenset({"/a", "/b*"}), ("/c/*",))
    assert "/c/d" in made
    assert "/c/d/e" not in made


def test_of_many_rules_a_few_are_kept_as_they_were_read(large: Callable[[str, str], Path]) -> None:
    with patch.object(written, "MOST_READ", 10):
        rules = load_apart([large(HEAD, "")], system_names(), lambda _: None).rules
        first = rules[0]
        assert rules[0] is first
        assert [rules[at].name for at in range(1, 11)] == [f"rule {at}" for at in range(1, 11)]
        assert rules[0] is not first
        assert rules[0] == first
        assert rules[-1].name == "rule 4999"
        with pytest.raises(IndexError):
            rules[5_000]
