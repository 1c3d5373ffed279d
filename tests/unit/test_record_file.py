"""Records on their way out: whole lines in order, and what is lost is counted."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import resource
import select
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import WALL_NS, flow, process
from nfsnitch.adapters import record_file
from nfsnitch.adapters.record_file import RecordFile
from nfsnitch.core.alike import Alike
from nfsnitch.core.decision import Action, Decision, Reason, Verdict
from nfsnitch.core.owner import Attribution
from nfsnitch.core.record import Record
from nfsnitch.core.unknown import Unknown

ALLOWED = Decision(Verdict.ACCEPT, Action.ALLOW, Reason.RULE, "web")
LONG_NAME = "x" * 10_000


def record(number: int, iface: str = "eth0") -> Record:
    """Return a record that can be told from others by its number of packets."""
    return Record(WALL_NS, ALLOWED, 0, number, flow(), process(), Attribution.FLOW_MAP, 1, iface)


def is_pending(file: RecordFile) -> bool:
    """Ask anew each time: a type checker takes a property for a value that stays."""
    return file.pending


def numbers(text: bytes) -> list[int]:
    """Return the numbers of the records in whole lines."""
    return [json.loads(line)["packets"] for line in text.splitlines()]


@dataclass
class Pipe:
    """A pipe that takes one page, and its slow reader."""

    place: Path
    fd: int
    text: bytes = b""

    @classmethod
    @contextlib.contextmanager
    def made(cls, folder: Path) -> Iterator[Pipe]:
        """Make it."""
        place = folder / "pipe"
        os.mkfifo(place)
        pipe = cls(place, os.open(place, os.O_RDONLY | os.O_NONBLOCK))
        fcntl.fcntl(pipe.fd, fcntl.F_SETPIPE_SZ, select.PIPE_BUF)
        yield pipe
        with contextlib.suppress(OSError):
            os.close(pipe.fd)

    def read(self, size: int) -> bool:
        """Read so much of what is there; whether there was anything."""
        try:
            got = os.read(self.fd, size)
        except BlockingIOError:
            return False
        self.text += got
        return bool(got)

    def read_all(self) -> bytes:
        """Read what is left, and return all."""
        while self.read(1 << 16):
            pass
        return self.text


@pytest.fixture(name="pipe")
def fixture_pipe(tmp_path: Path) -> Iterator[Pipe]:
    with Pipe.made(tmp_path) as pipe:
        yield pipe


def test_records_become_lines_behind_what_is_in_the_file_already(tmp_path: Path) -> None:
    place = tmp_path / "records"
    place.write_bytes(record(1).as_line().encode() + b"\n")
    file = RecordFile(str(place))
    for number in range(2, 300):
        file.add(record(number))

    file.flush()

    assert numbers(place.read_bytes()) == list(range(1, 300))
    assert not file.pending
    file.close()
    assert file.dropped == 0


def test_a_new_file_is_for_its_owners_eyes_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        RecordFile(str(tmp_path / "records")).close()
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "records").stat().st_mode) == 0o600


def test_nothing_is_written_before_the_flush(tmp_path: Path) -> None:
    file = RecordFile(str(tmp_path / "records"))
    assert not is_pending(file)

    file.add(record(1))

    assert is_pending(file)
    assert (tmp_path / "records").read_bytes() == b""
    file.close()
    assert numbers((tmp_path / "records").read_bytes()) == [1]


def test_a_file_that_cannot_be_opened_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        RecordFile(str(tmp_path / "missing" / "records"))


def test_a_fifo_that_nobody_reads_is_an_error_that_says_so_and_makes_nobody_wait(
    tmp_path: Path,
) -> None:
    place = tmp_path / "pipe"
    os.mkfifo(place)

    with pytest.raises(OSError, match="start its reader first") as problem:
        RecordFile(str(place))

    assert (problem.value.errno, problem.value.filename) == (errno.ENXIO, str(place))


def test_a_reader_that_took_the_room_away_between_the_look_and_the_write_loses_nothing(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = RecordFile(str(pipe.place))
    for number in range(50):
        file.add(record(number))
    monkeypatch.setattr(file, "_ready", lambda: True)

    file.flush()  # the pipe is full before all is written

    assert is_pending(file)
    assert file.dropped == 0
    while is_pending(file):
        assert pipe.read(1 << 16)
        file.flush()
    file.close()
    assert numbers(pipe.read_all()) == list(range(50))


def test_a_dash_is_standard_output_which_stays_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "stdout").open("w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        file = RecordFile("-")
        file.add(record(1))
        file.close()
        stdout.write("still open\n")

    line, last = (tmp_path / "stdout").read_bytes().splitlines()
    assert numbers(line) == [1]
    assert last == b"still open"


def test_a_reader_that_reads_nothing_makes_nobody_wait(pipe: Pipe) -> None:
    file = RecordFile(str(pipe.place))
    for number in range(50):
        file.add(record(number))

    file.flush()  # would not return

    assert is_pending(file)
    assert file.dropped == 0
    while is_pending(file):
        assert pipe.read(1 << 16)
        file.flush()
    file.close()
    assert numbers(pipe.read_all()) == list(range(50))


def test_a_line_longer_than_the_pipe_takes_arrives_whole(pipe: Pipe) -> None:
    file = RecordFile(str(pipe.place))
    for number in range(3):
        file.add(record(number, LONG_NAME))

    file.flush()
    while file.pending:
        assert pipe.read(1_000)
        file.flush()

    file.close()
    lines = pipe.read_all().splitlines()
    assert [json.loads(line)["iface"] for line in lines] == [LONG_NAME] * 3


def test_records_over_the_bound_are_dropped_and_counted_and_the_older_ones_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_file, "MAX_BUFFERED", 3)
    file = RecordFile(str(tmp_path / "records"))
    for number in range(5):
        file.add(record(number))

    file.close()

    assert numbers((tmp_path / "records").read_bytes()) == [0, 1, 2]
    assert file.dropped == 2


def test_what_a_reader_that_is_gone_did_not_take_is_counted(pipe: Pipe) -> None:
    file = RecordFile(str(pipe.place))
    for number in range(50):
        file.add(record(number))
    os.close(pipe.fd)

    file.flush()
    file.close()

    assert file.dropped == 50
    assert not file.pending


def test_a_terminal_that_says_no_is_counted_and_raises_nothing() -> None:
    file = RecordFile("/dev/full")
    file.add(record(1))

    file.flush()

    assert file.dropped == 1
    assert not file.pending
    file.close()
    file.close()
    assert file.dropped == 1


def test_a_line_that_was_cut_by_a_full_disk_spoils_no_other(tmp_path: Path) -> None:
    place = tmp_path / "records"
    file = RecordFile(str(place))
    whole = len(record(1).as_line()) + 1
    file.add(record(1))
    file.add(record(2))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (whole + whole // 2, limits[1]))
    try:
        file.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    file.add(record(3))
    file.close()

    lines = place.read_bytes().splitlines()
    good = [line for line in lines if line.endswith(b"}")]
    assert file.dropped == 1
    assert numbers(b"\n".join(good)) == [1, 3]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 12)),
        st.tuples(st.just("add long"), st.just(1)),
        st.tuples(st.just("flush"), st.just(1)),
        st.tuples(st.just("read"), st.integers(1, 8_192)),
    ),
    max_size=40,
)


@given(STEPS)
def test_what_comes_out_is_whole_lines_in_order_and_the_rest_is_counted(
    steps: list[tuple[str, int]],
) -> None:
    added = count()
    with (
        TemporaryDirectory() as folder,
        pytest.MonkeyPatch.context() as smaller,
        Pipe.made(Path(folder)) as pipe,
    ):
        smaller.setattr(record_file, "MAX_BUFFERED", 25)
        file = RecordFile(str(pipe.place))
        for step, amount in steps:
            if step == "read":
                pipe.read(amount)
            elif step == "flush":
                file.flush()
            else:
                for _ in range(amount):
                    name = LONG_NAME if step == "add long" else "eth0"
                    file.add(record(next(added), name))
        file.close()
        *lines, cut = pipe.read_all().split(b"\n")

    came = numbers(b"\n".join(lines))
    assert came == sorted(set(came))
    assert len(came) + file.dropped == next(added)
    if cut:
        following = [
            record(number, name).as_line().encode()
            for number in range(max(came, default=-1) + 1, next(added))
            for name in ("eth0", LONG_NAME)
        ]
        assert any(line.startswith(cut) for line in following)


def test_what_is_not_known_of_a_packet_is_written_too(tmp_path: Path) -> None:
    file = RecordFile(str(tmp_path / "records"))
    file.add(record(1)._replace(flow=Unknown("cut off"), owner=Unknown("cut off")))
    file.close()

    fields = json.loads((tmp_path / "records").read_bytes())
    assert (fields["daddr"], fields["exe"]) == ({"unknown": "cut off"},) * 2


def test_of_many_at_once_those_are_dropped_and_counted_for_which_there_is_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_file, "MAX_BUFFERED", 5)
    file = RecordFile(str(tmp_path / "records"))
    file.add(record(1))
    for first in (50_000, 50_003):
        file.add_alike(
            [Alike(record(2), WALL_NS, first + number, flow().daddr) for number in range(3)]
        )
    file.close()

    lines = (tmp_path / "records").read_bytes().splitlines()
    assert [json.loads(line)["sport"] for line in lines[1:]] == [50_000, 50_001, 50_002, 50_003]
    assert file.dropped == 2
