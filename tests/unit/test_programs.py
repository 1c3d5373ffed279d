"""The very file that a process runs, what is noted of it, and who waits for that to be known."""

from __future__ import annotations

import collections
import hashlib
import json
import os
import subprocess
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import flow, process
from nfsnitch.adapters import desktop_entries, identities, procfs, program_file
from nfsnitch.adapters.accounts import Accounts, names_by_number
from nfsnitch.adapters.identities import Identities, Sources
from nfsnitch.adapters.known_programs import Known, KnownPrograms, parsed
from nfsnitch.adapters.packages import NoPackages
from nfsnitch.adapters.program_file import RunningFile
from nfsnitch.core.alike import Alike, whole
from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import Action, Decision, Reason, Verdict
from nfsnitch.core.identity import Identity, Pending
from nfsnitch.core.owner import Attribution, Executable, Process
from nfsnitch.core.record import Record
from nfsnitch.core.unknown import Unknown
from nfsnitch.late_records import LateRecords

OLD, NEW = "a" * 64, "b" * 64


@pytest.fixture(name="sleeper")
def fixture_sleeper(tmp_path: Path) -> Iterator[tuple[Process, Path]]:
    """Run a copy of cat that waits for its input; yield it and its file."""
    program = tmp_path / "waits"
    program.write_bytes(Path("/usr/bin/cat").read_bytes())
    program.chmod(0o755)
    with subprocess.Popen([program], stdin=subprocess.PIPE) as child:
        found = procfs.process(child.pid)
        assert isinstance(found, Process)
        yield found, program
        child.communicate()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def hash_of(found: RunningFile | Unknown) -> str | Unknown:
    assert isinstance(found, RunningFile), found
    try:
        return program_file.sha256_of(found)
    finally:
        os.close(found.descriptor)


def test_the_file_that_a_process_runs_is_read_though_another_has_its_name(
    sleeper: tuple[Process, Path],
) -> None:
    running, program = sleeper
    expected = digest(program)
    program.unlink()
    program.write_bytes(b"another one")

    assert hash_of(program_file.opened(running)) == expected
    assert not program_file.is_at_its_path(running)


def test_a_file_that_is_not_the_one_of_the_owners_record_is_not_read(
    sleeper: tuple[Process, Path],
) -> None:
    running, _ = sleeper
    inode = running.exe.inode
    assert isinstance(inode, int)
    exe = Executable(running.exe.path, running.exe.device, inode + 1)

    assert isinstance(program_file.opened(replace(running, exe=exe)), Unknown)
    assert isinstance(program_file.state_of(replace(running, exe=exe)), Unknown)


def gone(running: Process) -> Process:
    """Return the same process under a number that nobody has."""
    return replace(running, pid=2**22 + 1)


def test_of_a_process_that_is_gone_the_file_counts_only_if_it_is_older(
    sleeper: tuple[Process, Path],
) -> None:
    running, program = sleeper
    later = replace(gone(running), start_time_ns=running.start_time_ns + 3600 * 10**9)
    earlier = replace(gone(running), start_time_ns=running.start_time_ns - 3600 * 10**9)

    assert hash_of(program_file.opened(later)) == digest(program)
    assert isinstance(program_file.opened(earlier), Unknown)


def test_a_file_that_is_too_large_is_not_read(
    sleeper: tuple[Process, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program_file, "MAX_BYTES", 10)

    assert "larger than 10" in str(hash_of(program_file.opened(sleeper[0])))


def test_a_file_that_changed_before_it_was_read_to_its_end_has_no_hash(
    sleeper: tuple[Process, Path],
) -> None:
    found = program_file.opened(sleeper[0])
    assert isinstance(found, RunningFile)
    sleeper[1].chmod(0o700)  # its ctime tells

    assert hash_of(found) == Unknown("its file changed while it was read")


def test_a_state_that_might_stay_the_same_over_a_change_is_told() -> None:
    fine = program_file.FileState(1, 2, 3, 4, 5 * 10**9 + 1)
    coarse = fine._replace(ctime_ns=5 * 10**9)

    assert [fine.may_change_unseen(5 * 10**9 + at) for at in (10**6, 10**9)] == [True, False]
    assert [coarse.may_change_unseen(5 * 10**9 + at) for at in (10**9, 3 * 10**9)] == [True, False]
    assert fine.may_change_unseen(0)  # the clock was set back


def test_what_is_noted_is_known_over_a_restart_and_by_one_daemon_alone(tmp_path: Path) -> None:
    first, second = KnownPrograms(tmp_path), KnownPrograms(tmp_path)
    first.open()
    second.open()
    for each in (first, second):
        each.note("/usr/bin/a\udcff", OLD, 1)
    assert second.document() is None
    first.note("/usr/bin/a\udcff", NEW, 2)
    document = first.document()
    assert document is not None
    first.write(document)
    assert first.document() is None
    first.close()
    third = KnownPrograms(tmp_path)
    third.open()

    assert third.known("/usr/bin/a\udcff") == Known(NEW, OLD, 2)
    assert third.known("/usr/bin/b") is None


def test_many_programs_cannot_have_another_one_forgotten(tmp_path: Path) -> None:
    known = KnownPrograms(tmp_path, most=2)
    assert known.note("/a", OLD, 1)
    assert known.note("/b", OLD, 1)

    assert not known.note("/c", OLD, 1)
    assert isinstance(known.known("/c"), Unknown)
    assert known.note("/a", NEW, 2)
    known.forget(["/b"])
    assert known.note("/c", OLD, 3)


@given(st.binary(max_size=100))
def test_a_file_that_is_none_of_ours_is_refused_and_nothing_else_is_raised(raw: bytes) -> None:
    with pytest.raises(ValueError, match="it"):
        parsed(raw)


scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
json_values = scalars | st.lists(scalars, max_size=4)


@given(st.dictionaries(st.text(max_size=5), json_values, min_size=1))
def test_of_programs_that_cannot_be_understood_nothing_is_taken(programs: object) -> None:
    with pytest.raises(ValueError, match="understood"):
        parsed(json.dumps({"version": 1, "programs": programs}).encode())


@given(st.binary(max_size=60))
def test_names_are_read_from_whatever_lines_there_are(raw: bytes) -> None:
    found = names_by_number(b"root:x:0:0\n" + raw + b"\nlast:x:77:\n")

    assert found[0] == "root"
    assert 77 in found


class Loop:
    """What is delivered is done when the test says so."""

    def __init__(self) -> None:
        self._calls: collections.deque[Callable[[], None]] = collections.deque()
        self._there = threading.Condition()

    def deliver(self, call: Callable[[], None]) -> None:
        """Take it from any thread."""
        with self._there:
            self._calls.append(call)
            self._there.notify()

    def run_one(self) -> None:
        """Wait for one, and do it."""
        with self._there:
            assert self._there.wait_for(lambda: bool(self._calls), 30)
            call = self._calls.popleft()
        call()


class Play:
    """Identities whose files are hashed when the test says so."""

    def __init__(self, folder: Path) -> None:
        self.loop = Loop()
        self.told: list[tuple[int, Identity]] = []
        self.counters: collections.Counter[Counter] = collections.Counter()
        self.may_read = threading.Event()
        self.known = KnownPrograms(folder / "state")
        sources = Sources(self.known, NoPackages(), Accounts(), self._no_desktop, self._sha256)
        self.identities = Identities(sources, self.loop.deliver, self._hear, self.counters)

    def _hear(self, ticket: int, identity: Identity) -> None:
        self.told.append((ticket, identity))

    def _sha256(self, file: RunningFile) -> str | Unknown:
        self.may_read.wait(30)
        return program_file.sha256_of(file)

    @staticmethod
    def _no_desktop() -> desktop_entries.Index:
        return desktop_entries.read([])


@pytest.fixture(name="play")
def fixture_play(tmp_path: Path) -> Iterator[Play]:
    made = Play(tmp_path)
    yield made
    made.may_read.set()
    made.identities.close()


def test_a_program_is_read_once_for_all_who_ask(play: Play, sleeper: tuple[Process, Path]) -> None:
    running, program = sleeper
    both = [play.identities.identified(each) for each in (running, replace(running, uid=0))]
    assert all(isinstance(each.identity.sha256, Pending) for each in both)
    assert play.identities.identified(running) is both[0]  # put together once while it is read
    play.may_read.set()
    play.loop.run_one()

    ((ticket, identity),) = play.told
    assert {each.identity.ticket for each in both} == {ticket}
    assert not play.identities.is_outstanding(ticket)
    assert (identity.sha256, identity.changed) == (digest(program), False)
    assert play.identities.identified(running) is not both[0]
    again = play.identities.identified(running)
    assert (again.identity.sha256, again.identity.ticket) == (digest(program), None)
    assert play.identities.identified(running) is again
    assert play.counters[Counter.PROGRAMS_HASHED] == 1


def test_what_takes_too_long_is_told_as_unknown_and_kept_once_it_is_there(
    play: Play, sleeper: tuple[Process, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    running, program = sleeper
    monkeypatch.setattr(identities, "PATIENCE_S", -1.0)
    waits = play.identities.identified(running)
    play.identities.tick()

    ((ticket, identity),) = play.told
    assert (ticket, type(identity.sha256)) == (waits.identity.ticket, Unknown)
    assert type(play.identities.identified(running).identity.sha256) is Unknown
    play.may_read.set()
    play.loop.run_one()
    assert play.identities.identified(running).identity.sha256 == digest(program)
    assert len(play.told) == 1


def test_more_programs_than_may_wait_are_unknown_and_counted(
    play: Play, sleeper: tuple[Process, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(play.identities._small, "do", lambda _work: False)  # noqa: SLF001
    found = play.identities.identified(sleeper[0]).identity

    assert (type(found.sha256), found.ticket) == (Unknown, None)
    assert play.counters[Counter.PROGRAMS_NOT_HASHED] == 1


def test_another_file_under_the_path_has_changed_until_it_is_let_out(
    play: Play, sleeper: tuple[Process, Path]
) -> None:
    running, program = sleeper
    play.known.note(str(program), OLD, 1)
    play.may_read.set()
    play.identities.identified(running)
    play.loop.run_one()
    found = [play.identities.identified(running) for _ in range(2)]
    for each in found:
        assert (each.identity.changed, each.identity.previous_sha256) == (True, OLD)
    play.identities.let_out(found[0])

    assert play.identities.identified(running).identity.changed is False
    assert play.known.known(str(program)) == Known(
        digest(program),
        OLD,
        play.known._known[str(program)].noted_ns,  # noqa: SLF001
    )


def record(packets: int, ticket: int | None) -> Record:
    """Return a record that is told from others by its number of packets."""
    owner = replace(process(), identity=Identity(ticket=ticket))
    decision = Decision(Verdict.ACCEPT, Action.ALLOW, Reason.RULE, "x")
    by = Attribution.FLOW_MAP
    return Record(0, decision, 0, packets, flow(), owner, by, 1, "eth0")


def late_records(
    written: list[Record], outstanding: set[int], clock_s: Callable[[], float]
) -> LateRecords:
    """Return what writes to that list; those that are alike, as whole ones."""

    def write_alike(_likes: Collection[Record], records: Sequence[Alike]) -> None:
        written.extend(map(whole, records))

    return LateRecords(written.append, write_alike, outstanding.__contains__, clock_s)


def alike(like: Record, wall_ns: int) -> Alike:
    return Alike(like, wall_ns, 50_000, flow().daddr)


def test_those_that_are_alike_keep_their_place_behind_one_that_waits() -> None:
    written: list[Record] = []
    outstanding = {1}
    late = late_records(written, outstanding, lambda: 0.0)
    plain, pending = record(0, None), record(1, 1)
    late.add_alike([plain], [alike(plain, 5), alike(plain, 6)])
    assert [each.wall_ns for each in written] == [5, 6]
    late.add_alike(
        [plain, pending],
        [alike(plain, 7), alike(pending, 8)],
    )
    late.add_alike([plain], [alike(plain, 9)])

    assert [each.wall_ns for each in written] == [5, 6, 7]
    outstanding.remove(1)
    late.identified(1, Identity(sha256=OLD))
    assert [each.wall_ns for each in written] == [5, 6, 7, 8, 9]
    owner = written[3].owner
    assert isinstance(owner, Process)
    assert owner.identity.sha256 == OLD


def test_records_wait_for_what_is_pending_in_their_order_and_not_for_ever() -> None:
    written: list[Record] = []
    outstanding = {1, 2}
    now = [0.0]
    late = late_records(written, outstanding, lambda: now[0])
    for number, ticket in enumerate((None, 1, None, 2, None)):
        late.add(record(number, ticket))
    assert [each.packets for each in written] == [0]
    outstanding.remove(1)
    late.identified(1, Identity(sha256=OLD))

    assert [each.packets for each in written] == [0, 1, 2]
    owner = written[1].owner
    assert isinstance(owner, Process)
    assert owner.identity.sha256 == OLD
    now[0] = 1.0
    late.tick()
    assert len(written) == 3
    now[0] = 60.0
    late.tick()
    assert [each.packets for each in written] == [0, 1, 2, 3, 4]
    late.add(record(5, 2))
    late.flush()
    assert written[-1].packets == 5
