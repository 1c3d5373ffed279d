"""Which tests run in guests, and the guests they run in."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from nfsnitch.core.loader import Loader
from nfsnitch.lab.firewall import LOADER_VARIABLE
from nfsnitch.lab.programs import SOURCES, build_program
from vm.kernels import LINES
from vm.session import LOADER_MARK, GuestSession, Wanted

TESTS = Path(__file__).parents[1]
FOLDERS = ("contract", "netns")
"""Those with tests that may be marked."""
MODES = ("cgroup", "lsm", "kprobe")
LOADER = LOADER_MARK if os.environ.get(LOADER_VARIABLE) == Loader.BCC else ""
"""For the whole run: the one that is behind each mode's name, if it is not the usual one."""
FOLDER = Path(__file__).parents[2] / ".cache" / "vm"
Sessions = Callable[[str], GuestSession]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test of each kernel, attach mode and test with the marker `vm_guest`."""
    if "wanted" not in metafunc.fixturenames:
        return
    selected = list(guest_tests(metafunc.definition.session))
    metafunc.parametrize(
        ("line", "wanted"),
        [
            pytest.param(
                line,
                Wanted(f"{mode}{LOADER}", nodeid),
                id=f"{line}-{mode}{LOADER}-{short_name(nodeid)}",
                marks=pytest.mark.xdist_group(f"vm-{line}"),
            )
            for line in LINES
            for mode in MODES
            for nodeid, guests in selected
            if (line, mode) in guests
        ],
    )


def short_name(nodeid: str) -> str:
    """Return it without its folder and ``test_``."""
    file, _, name = nodeid.partition("::")
    return f"{Path(file).name.removeprefix('test_')}::{name}"


def guest_tests(session: pytest.Session) -> Iterator[tuple[str, set[tuple[str, str]]]]:
    """Yield the tests that are marked, and for each the kernels with modes that it is for."""
    for path in sorted(path for folder in FOLDERS for path in TESTS.glob(f"{folder}/test_*.py")):
        if "vm_guest" not in path.read_text(encoding="utf-8"):
            continue
        for item in session.genitems(pytest.Module.from_parent(session, path=path)):
            marker = item.get_closest_marker("vm_guest")
            if marker is not None:
                yield item.nodeid, _guests(**marker.kwargs)


def _guests(
    lines: Sequence[str] = LINES,
    modes: Sequence[str] = MODES,
    each: Iterable[tuple[str, str]] | None = None,
) -> set[tuple[str, str]]:
    """Return where a test runs by the words of its marker: on *lines* in *modes*, or in *each*."""
    return set(itertools.product(lines, modes) if each is None else each)


@pytest.fixture(name="guests", scope="session")
def fixture_guests(request: pytest.FixtureRequest) -> Iterator[Sessions]:
    """Give the guest of a kernel, booted when first asked for with all that is to run there."""
    wanted: dict[str, list[Wanted]] = {}
    for item in request.session.items:
        match getattr(getattr(item, "callspec", None), "params", None):
            case {"line": str(line), "wanted": Wanted() as one}:
                wanted.setdefault(line, []).append(one)
    for source in SOURCES.glob("*.c"):
        build_program(source.stem)  # a guest cannot write here
    sessions: dict[str, GuestSession] = {}

    def get(line: str) -> GuestSession:
        # One worker has the tests of one kernel; alone, one process has those of all.
        for each in [line] if "PYTEST_XDIST_WORKER" in os.environ else wanted:
            if each not in sessions:
                folder = FOLDER / each
                shutil.rmtree(folder, ignore_errors=True)
                sessions[each] = GuestSession(each, wanted[each], folder)
        return sessions[line]

    try:
        yield get
    finally:
        for session in sessions.values():
            session.close()
