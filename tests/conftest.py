"""Markers become conditions: a test runs only where the machine has what it needs."""

from __future__ import annotations

import pytest

from capabilities import PROBES, SHARED_MACHINE, Outcome, explain, is_ci, outcome, probe


def pytest_configure(config: pytest.Config) -> None:
    """Say how examples are made up.

    No deadline: a busy machine is no fault of the code. In CI the same examples every time, so that
    it fails by what was changed and not by luck; new examples are found wherever else tests run.
    """
    if not config.pluginmanager.hasplugin("hypothesispytest"):
        return  # as in guests, where to import it alone takes ten seconds
    from hypothesis import settings  # noqa: PLC0415  only where it is used

    settings.register_profile("nfsnitch", deadline=None, derandomize=is_ci(), print_blob=True)
    settings.load_profile("nfsnitch")


@pytest.hookimpl(tryfirst=True)  # before xdist's own hook, which reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Say which tests that use the machine itself one worker runs, one after the other.

    All those that measure it or send through raw sockets (in the mode `cgroup` these are told apart
    by protocol alone), and of the others each file's: they have namespaces and cgroups of their
    own. Those in guests come first: these are long, and wait most of the time.
    """
    items.sort(key=lambda item: item.get_closest_marker("vm") is None)
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        has_group = item.get_closest_marker("xdist_group") is not None
        if not has_group and any(item.get_closest_marker(name) for name in SHARED_MACHINE):
            is_alone = item.get_closest_marker("undisturbed") is not None
            group = "machine" if is_alone else item.path.stem
            item.add_marker(pytest.mark.xdist_group(group))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse to run where the groups would go unheeded: tests would get in each other's way."""
    if not getattr(session.config.option, "loadgroup", False):  # xdist's, in its workers
        return
    for item in session.items:
        if item.get_closest_marker("xdist_group") and "@" not in item.nodeid:
            raise pytest.UsageError("this pytest-xdist does not give groups of tests to one worker")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip or fail a test whose capability is not there."""
    for name in PROBES:
        if item.get_closest_marker(name) is None:
            continue
        answer = probe(name)
        decided = outcome(answer, ci=is_ci())
        if decided is Outcome.SKIP:
            pytest.skip(explain(name, answer))
        if decided is Outcome.FAIL:
            pytest.fail(explain(name, answer), pytrace=False)
