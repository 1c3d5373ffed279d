"""Whether a test runs, is skipped or fails the run when its capability is not there."""

from __future__ import annotations

import errno

import pytest

from capabilities import (
    PRESENT,
    PROBES,
    Answer,
    Outcome,
    State,
    answer_to_cgroup2,
    answer_to_errno,
    explain,
    is_ci,
    outcome,
    probe,
)

MISSING = Answer(State.MISSING, "no such thing", "install it")
REFUSED = Answer(State.REFUSED, "not in this kernel")


@pytest.mark.parametrize("ci", [False, True])
def test_a_test_runs_where_its_capability_is_present(ci: bool) -> None:  # noqa: FBT001
    assert outcome(PRESENT, ci=ci) is Outcome.RUN


def test_a_missing_capability_skips_for_a_person_and_fails_in_ci() -> None:
    assert outcome(MISSING, ci=False) is Outcome.SKIP
    assert outcome(MISSING, ci=True) is Outcome.FAIL


@pytest.mark.parametrize("ci", [False, True])
def test_what_the_kernel_refuses_is_skipped_everywhere(ci: bool) -> None:  # noqa: FBT001
    assert outcome(REFUSED, ci=ci) is Outcome.SKIP


def test_the_reason_names_the_capability_and_what_to_do() -> None:
    expected = "capability vm: missing on this machine: no such thing; install it"
    assert explain("vm", MISSING) == expected
    expected = "capability bpf: refused by the running kernel: not in this kernel"
    assert explain("bpf", REFUSED) == expected


def test_a_system_call_that_works_means_present() -> None:
    assert answer_to_errno(0, "unshare", is_root=False) is PRESENT


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS, errno.EINVAL])
def test_root_being_told_no_is_the_kernels_refusal(number: int) -> None:
    answer = answer_to_errno(number, "bpf", is_root=True)
    assert answer.state is State.REFUSED
    assert errno.errorcode[number] in answer.detail


def test_others_being_told_no_are_missing_root() -> None:
    answer = answer_to_errno(errno.EPERM, "bpf", is_root=False)
    assert (answer.state, answer.remedy) == (State.MISSING, "run as root: sudo make test")


def test_a_limit_that_is_reached_is_the_machines_and_not_the_kernels() -> None:
    assert answer_to_errno(errno.ENOSPC, "unshare", is_root=True).state is State.MISSING


CGROUP2_MOUNT = "none /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n"


@pytest.mark.parametrize(
    ("mounts", "filesystems", "state"),
    [
        (CGROUP2_MOUNT, "nodev\tcgroup2\n", State.PRESENT),
        ("none /sys/fs/cgroup2 tmpfs rw 0 0\n", "nodev\tcgroup2\n", State.MISSING),
        ("", "nodev\tcgroup\nnodev\ttmpfs\n", State.REFUSED),
    ],
    ids=["mounted", "not mounted", "not in the kernel"],
)
def test_cgroup_v2_is_present_mountable_or_not_in_the_kernel(
    mounts: str, filesystems: str, state: State
) -> None:
    assert answer_to_cgroup2(mounts, filesystems).state is state


@pytest.mark.parametrize(
    ("value", "expected"), [("true", True), ("1", True), ("", False), ("false", False)]
)
def test_ci_is_told_by_its_environment_variable(
    monkeypatch: pytest.MonkeyPatch,
    value: str,
    expected: bool,  # noqa: FBT001
) -> None:
    monkeypatch.setenv("CI", value)
    assert is_ci() is expected


def test_a_probe_is_tried_once_and_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def count() -> Answer:
        tried.append(1)
        return MISSING

    monkeypatch.setitem(PROBES, "once", count)
    assert not tried
    assert probe("once") is probe("once") is MISSING
    assert len(tried) == 1


def test_every_capability_is_a_registered_marker(pytestconfig: pytest.Config) -> None:
    markers = {line.split(":")[0] for line in pytestconfig.getini("markers")}
    assert set(PROBES) <= markers


@pytest.mark.parametrize("name", ["root", "netns", "bpf", "vm"])
def test_the_probes_answer_with_a_reason_on_any_machine(name: str) -> None:
    answer = probe(name)
    assert answer.state is State.PRESENT or answer.detail
