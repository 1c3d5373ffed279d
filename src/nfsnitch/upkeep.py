"""What the daemon does between packets: a little at a time, so that no packet waits for it."""

from __future__ import annotations

import asyncio
import collections
import logging
import time
from collections.abc import Callable, Iterator, Sequence

from nfsnitch.adapters.bpf.owners import OwnerStore
from nfsnitch.adapters.nfqueue import PacketQueue
from nfsnitch.adapters.record_file import RecordFile
from nfsnitch.core.alike import Alike
from nfsnitch.core.clock import ClockWatch
from nfsnitch.core.counters import Counter
from nfsnitch.core.events import Instant
from nfsnitch.core.record import Record
from nfsnitch.lean import return_free_memory

_TICK_S = 1.0
_TRIM_S = 60.0
_RECORDS_DELAY_S = 0.02
_RECORDS_DELAYS = 25
"""So often that is put off while packets go on coming: half a second."""
_CROWD = 1_024
"""Of records that wait: of so many programs that run once they take 4 MB."""
_LOOK_AGAIN_S = 0.002
_LOOK_CLOSELY_S = 0.1
"""So soon a question goes whose program has closed its connection: nobody is woken for each."""
_SWEEP_SLICE_S, _SWEEP_AGAIN_S = 0.0003, 0.003
_QUIET_TICKS = 10
"""Where no socket was asked for or closed, a sweep is for what no packet tells of: it goes through
maps that may be empty, which takes the kernel a millisecond."""

_log = logging.getLogger(__name__)


def call_at(loop: asyncio.AbstractEventLoop, when_ns: int, callback: Callable[[], None]) -> None:
    """Have *loop* call back at this time (ns of the monotonic clock) or a little later."""
    # asyncio's clock is the monotonic one, in seconds. A float of it is good to a microsecond; so
    # that a deadline is never early by that, it is given a millisecond.
    loop.call_at(when_ns / 1e9 + 0.001, callback)


class ClockLook:
    """Notices when somebody sets the wall clock."""

    def __init__(self, now: Callable[[], Instant], counters: collections.Counter[Counter]) -> None:
        self._now = now
        self._counters = counters
        self._watch = ClockWatch(now())

    def look(self) -> None:
        """Look; once a second is often enough."""
        jump_ns = self._watch.jump_ns(self._now())
        if jump_ns:
            self._counters[Counter.CLOCK_JUMPS] += 1
            _log.warning("the wall clock jumped by %+.1f s", jump_ns / 1e9)


class RecordWriter:
    """Writes records soon, but not between a packet and the next one."""

    def __init__(self, loop: asyncio.AbstractEventLoop, file: RecordFile | None) -> None:
        """Write to *file*; without one, records go nowhere."""
        self._loop = loop
        self._file = file
        self._planned = False
        self._comes_more = False
        self._delays_left = 0

    @property
    def dropped(self) -> int:
        """How many records there was no room for."""
        return self._file.dropped if self._file else 0

    def add(self, record: Record) -> None:
        """Take a record; it is written once `plan` has been called."""
        if self._file:
            self._file.add(record)

    def add_alike(self, records: Sequence[Alike]) -> None:
        """Take many of them."""
        if self._file:
            self._file.add_alike(records)

    def plan(self) -> None:
        """See to it that what has been added is written."""
        file = self._file
        if file is None:
            return
        self._comes_more = True
        if self._planned:
            self._write_meanwhile(file)
        elif file.pending:
            self._planned = True
            self._delays_left = _RECORDS_DELAYS
            self._wait()

    @staticmethod
    def _write_meanwhile(file: RecordFile) -> None:
        """Write of too many that have gathered; few at once, for packets wait, but for a flood."""
        if file.gathered > 2 * _CROWD:
            file.write_some()
        elif file.gathered > _CROWD:
            file.write_few()

    def _wait(self) -> None:
        self._comes_more = False
        self._loop.call_later(_RECORDS_DELAY_S, self._write_unless_busy)

    def _write_unless_busy(self) -> None:
        """Write, but at the end of a burst: a burst of connections is decided first."""
        if self._comes_more and self._delays_left:
            self._delays_left -= 1
            self._wait()
        else:
            self._write()

    def close(self) -> None:
        """Write what can be written, and close the file; once is enough."""
        if self._file:
            self._file.close()

    def _write(self) -> None:
        if self._file and self._has_written(self._file) and self._file.pending:
            self._loop.call_soon(self._write)
            return
        self._planned = False
        self.plan()

    def _has_written(self, file: RecordFile) -> bool:
        """Write a few, or more if no packets come meanwhile; return whether there may be more."""
        comes_more, self._comes_more = self._comes_more, False
        return file.write_few() if comes_more else file.write_some()


class Upkeep:
    """Keeps eBPF's maps tidy, and calls what wants to be called once a second."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        owners: OwnerStore,
        queue: PacketQueue,
        packets: Callable[[], None],
        each_second: Sequence[Callable[[], None]],
        somebody_waits: Callable[[], bool] = lambda: False,
        hear_of_flows: Callable[[], bool] = lambda: False,
    ) -> None:
        """*packets* looks at the queue and handles what is there.

        While *somebody_waits* for an answer, closed sockets are heard of sooner (`look_closely`).
        *hear_of_flows* hears of those that the kernel has answered for, and tells whether there are
        more: nobody may forget their processes before.
        """
        self._hear_of_flows = hear_of_flows
        self._loop = loop
        self._owners = owners
        self._queue = queue
        self._packets = packets
        self._each_second = each_second
        self._sweep: Iterator[None] = iter(())
        self._sweep_planned = False
        self._ticks = 0
        self._look_planned = False
        self._heard_s = float("-inf")
        """When a closed socket was heard of last, by the loop's clock."""
        self._somebody_waits = somebody_waits
        self._close_look_planned = False

    def begin(self) -> None:
        """Begin, and go on until the loop stops."""
        self._tick()
        self._trim()

    def sockets_closed(self) -> None:
        """Hear of closed sockets."""
        # After a look at the queue: what it has shown to be empty need not be kept.
        self._packets()
        heard = self._owners.heard
        if self._owners.tidy(self._queue.empty_ns):
            self._loop.call_soon(self.sockets_closed)
        if self._owners.heard != heard:
            # Once more, when nothing of theirs can come any longer: whoever has their tuple next
            # must not be taken for them.
            self._heard_s = self._loop.time()
            self._plan_look()

    def _plan_look(self) -> None:
        if not self._look_planned:
            self._look_planned = True
            self._loop.call_later(_LOOK_AGAIN_S, self._look_again)

    def look_closely(self) -> None:
        """Hear of closed sockets soon, while somebody waits for an answer."""
        if not self._close_look_planned:
            self._close_look_planned = True
            self._loop.call_later(_LOOK_CLOSELY_S, self._look_closely)

    def _look_closely(self) -> None:
        self._close_look_planned = False
        if self._somebody_waits():
            self.sockets_closed()
            self.look_closely()

    def _look_again(self) -> None:
        self._look_planned = False
        if self._loop.time() < self._heard_s + _LOOK_AGAIN_S:  # of others since this was planned
            self._plan_look()
        self._packets()

    def _tick(self) -> None:
        for call in self._each_second:
            call()
        self.sockets_closed()
        self._ticks += 1
        is_due = self._owners.is_stirred or self._ticks % _QUIET_TICKS == 0
        if is_due and not self._sweep_planned:
            self._sweep_on()
        self._loop.call_later(_TICK_S, self._tick)

    def _sweep_on(self) -> None:
        """Sweep a little; the next time comes with the tick, or soon where there is a crowd."""
        self._sweep_planned = False
        until_s = time.monotonic() + _SWEEP_SLICE_S
        done = not self._hear_of_flows() and all(time.monotonic() < until_s for _ in self._sweep)
        if done:
            self._sweep = self._owners.sweep_images()
        if not done or self._owners.crowded:
            self._sweep_planned = True
            self._loop.call_later(_SWEEP_AGAIN_S, self._sweep_on)

    def _trim(self) -> None:
        return_free_memory()
        self._loop.call_later(_TRIM_S, self._trim)
