"""Sockets past netfilter: has the kernel refuse what rules refuse, and records who opened one.

In attach mode ``lsm`` a hook judges each opening by the rules that it was given; in ``kprobe`` mode
one tells of it. In ``cgroup`` mode nothing does: once a second the kernel's table of such sockets
is looked at, and what was opened and closed in between is not seen.
"""

from __future__ import annotations

import asyncio
import collections
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from nfsnitch.adapters import mounts, netns, procfs
from nfsnitch.adapters.bpf.core_loader import LoadedPrograms
from nfsnitch.adapters.bpf.openings import Opened, OpeningHooks
from nfsnitch.adapters.rate_limit import TimeLimit
from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import Action, Decision, Reason, Verdict
from nfsnitch.core.instant import Instant
from nfsnitch.core.opening import (
    NO_FLOW,
    Opening,
    about_openings,
    opening_case,
    opening_decision,
    opening_rules,
)
from nfsnitch.core.owner import Attribution, Owner, Process
from nfsnitch.core.record import Record
from nfsnitch.core.ruleset import Ruleset, Ruling
from nfsnitch.core.text import shown
from nfsnitch.core.unknown import Unknown
from nfsnitch.reload import RulesRefusedError

RECORD_AGAIN_NS = 60_000_000_000
"""Who opens one after the other, with the same outcome, is recorded again after so long."""
_REMEMBERED = 512
_MOST_TURNS = 64
"""Of `hear` in one go: they empty a full ring buffer several times over."""
_GENERATIONS = 4
_MAX_OLDER_NAMED = 8
_NO_HOLDER = Unknown("no process was found to hold it: closed, or in flight between two")
_NOT_LOOKED_UP = Unknown("too many look-ups in /proc at once")

_log = logging.getLogger(__name__)


class World(NamedTuple):
    """What `Openings` needs of the rest."""

    owner_of: Callable[..., Owner]
    """Takes the entry of an opener that a hook has written."""
    write_record: Callable[[Record], None]
    now: Callable[[], Instant]
    netns: int
    """Inode number of the present network namespace, which is the one enforced in."""
    counters: collections.Counter[Counter]
    proc_limit: TimeLimit
    sockets: Callable[[], Mapping[int, Opening]]
    """Returns those that are open, by inode; raises OSError where that cannot be told."""
    holders: Callable[[int], list[int]] = lambda inode: procfs.holders([inode])
    process: Callable[[int], Owner] = procfs.process


class Openings:
    """Watches over sockets past netfilter in one network namespace."""

    def __init__(self, programs: LoadedPrograms, world: World) -> None:
        """Use the maps of *programs*; nothing is looked at yet."""
        self._world = world
        self._hooks = OpeningHooks(programs, self._opened)
        self._ruleset = Ruleset()
        self._generation = 0
        self._names: dict[int, tuple[str, ...]] = {}
        """Generation → the names of its rules, in the hooks' order."""
        self._present: Mapping[int, Opening] = {}
        """By inode, what the kernel listed last."""
        self._recorded: dict[tuple[object, ...], int] = {}

    def fileno(self) -> int:
        """Return the descriptor that is readable when there is something to `hear`."""
        return self._hooks.fileno()

    def close(self) -> None:
        """Refuse nothing any more."""
        self._hooks.close()

    def begin(self, ruleset: Ruleset, generation: int) -> None:
        """Judge by *ruleset* from here on, and record who holds such a socket already.

        Raises:
            RulesRefusedError: the kernel refused the rules.
            OSError: it refused everything else.

        """
        self.rules_changed(ruleset, generation)
        self._hooks.begin(netns.cookie(), mounts.of_the_rules().namespace)
        self._present = present = self._listed()
        older = Decision(Verdict.ACCEPT, Action.ALLOW, Reason.OLDER, None)
        owners = [self._holder(inode) for inode in present]
        for opening, owner in zip(present.values(), owners, strict=True):
            self._record(opening, owner, older, Attribution.PROC)
        if present:
            _log.warning("held since before the start, past netfilter: %s", _named(owners))

    def rules_changed(self, ruleset: Ruleset, generation: int) -> None:
        """Judge by *ruleset* from here on; what is open stays open.

        Raises:
            RulesRefusedError: the kernel refused them, and those before stay in force.

        """
        rules = opening_rules(ruleset, self._world.now())
        asked = about_openings(ruleset)
        refuse_unattributed = asked.unattributed is not Action.ALLOW
        try:
            self._hooks.use(rules, generation, refuse_unattributed=refuse_unattributed)
        except OSError as problem:
            why = f"proto: packet, xdp: the kernel refused the rules: {problem.strerror}"
            raise RulesRefusedError(why) from problem
        refusing = [rule.name for rule in rules if rule.refuses]
        if refusing and not self._hooks.can_refuse and generation != self._generation:
            _log.warning(
                "rule '%s' refuses sockets past netfilter, which takes attach mode lsm: here they"
                " are recorded, and opened all the same",
                shown(refusing[0]),
            )
        self._ruleset, self._generation = asked, generation
        self._names[generation] = tuple(rule.name for rule in rules)
        while len(self._names) > _GENERATIONS:
            del self._names[min(self._names)]

    def listen(self, loop: asyncio.AbstractEventLoop, written: Callable[[], None]) -> None:
        """Hear of openings while *loop* runs; *written* is called after there may be records."""

        def hear() -> None:
            if self.hear():
                loop.call_soon(hear)
            written()

        loop.add_reader(self, hear)

    def hear(self) -> bool:
        """Take what the hooks tell; returns whether there may be more."""
        return self._hooks.consume()

    def hear_all(self) -> None:
        """Take all that the hooks have told by now; who opens on and on is not waited for."""
        for _ in range(_MOST_TURNS):
            if not self.hear():
                return

    def tick(self) -> None:
        """Look for new sockets, where no hook tells of them; to be called each second."""
        if self._hooks.can_tell:
            return
        present = self._listed()
        for inode in present.keys() - self._present.keys():
            self._found(present[inode], self._holder(inode), Attribution.PROC)
        self._present = present

    def _opened(self, opened: Opened) -> None:
        owner = self._world.owner_of(opened.opener)
        if opened.refused is None:
            self._found(opened.opening, owner, Attribution.OPENING_HOOK)
            return
        action = Action.DENY if opened.refused else Action.ALLOW
        names = self._names.get(opened.generation, ())
        if opened.rule is not None and opened.rule < len(names):
            ruling = Ruling(action, Reason.RULE, names[opened.rule])
        else:
            reason = Reason.UNATTRIBUTED if opened.refused else Reason.DEFAULT
            ruling = Ruling(action, reason, None)
        decision = opening_decision(ruling, could_refuse=True)
        self._record(opened.opening, owner, decision, Attribution.OPENING_HOOK)

    def _found(self, opening: Opening, owner: Owner, attribution: Attribution) -> None:
        """Record a socket that was opened unjudged, with what the rules would have said."""
        ruling = self._ruleset.rule_on(opening_case(opening, owner, self._world.now()))
        decision = opening_decision(ruling, could_refuse=False)
        self._record(opening, owner, decision, attribution)

    def _record(
        self, opening: Opening, owner: Owner, decision: Decision, attribution: Attribution
    ) -> None:
        refused = decision.verdict is not Verdict.ACCEPT
        counter = Counter.OPENINGS_REFUSED if refused else Counter.OPENINGS
        self._world.counters[counter] += 1
        now = self._world.now()
        if self._is_repeated(opening, owner, decision, now.monotonic_ns):
            return
        self._world.write_record(
            Record(
                now.wall_ns,
                decision,
                0,
                0,
                opening,
                owner,
                attribution if isinstance(owner, Process) else Attribution.NONE,
                self._world.netns,
                NO_FLOW,
                generation=self._generation,
            )
        )

    def _is_repeated(self, opening: Opening, owner: Owner, decision: Decision, now_ns: int) -> bool:
        if not isinstance(owner, Process):
            return False
        key = (owner.pid, owner.start_time_ns, owner.exe.path, opening, decision)
        if now_ns - self._recorded.get(key, -RECORD_AGAIN_NS) < RECORD_AGAIN_NS:
            return True
        if len(self._recorded) >= _REMEMBERED:
            del self._recorded[next(iter(self._recorded))]
        self._recorded[key] = now_ns
        return False

    def _listed(self) -> Mapping[int, Opening]:
        try:
            return self._world.sockets()
        except OSError:
            self._world.counters[Counter.OPENING_ERRORS] += 1
            return self._present

    def _holder(self, inode: int) -> Owner:
        """Return the first process that holds a socket: with several, it was handed down."""
        with self._world.proc_limit.spending() as may_look:
            if not may_look:
                self._world.counters[Counter.PROC_LIMITED] += 1
                return _NOT_LOOKED_UP
            pids = self._world.holders(inode)
            return self._world.process(pids[0]) if pids else _NO_HOLDER


def _named(owners: Iterable[Owner]) -> str:
    names = [
        f"{shown(str(owner.exe.path))} ({owner.pid})" if isinstance(owner, Process) else "unknown"
        for owner in owners
    ]
    more = len(names) - _MAX_OLDER_NAMED
    shortened = ", ".join(names[:_MAX_OLDER_NAMED])
    return f"{shortened} and {more} more" if more > 0 else shortened
