"""The names that are known: which process has learnt which name of which address, and for how long.

    user ─► process ─► address ─► names        what a process itself has asked for
    group (a network namespace, a user) ─► address ─► names        what its others have asked for

Whose names count for whom is a matter of trust. What a process has asked for itself counts for it,
before all else. What others have asked for counts for it if they could do as they like with it
anyhow, or are the machine's own: processes of the same user, and system users (a stub resolver asks
for everybody). All that in one network namespace, for addresses mean something else in the next.

All is bounded, and so is what one user can do to the others: where there are too many names, the
user who has most of them loses the oldest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from nfsnitch.core.name import LEAST_FRESH_S, Name, Names
from nfsnitch.core.owner import Owner, Process
from nfsnitch.core.settings import Limits
from nfsnitch.core.unknown import Unknown

MOST_OF_ADDRESS = 8
"""Names of one address that are kept of one process."""
MOST_TTL_S = 86_400
"""For longer no answer holds, whatever it says; resolvers do the same (RFC 8767, 4)."""
FIRST_UID = 1_000
NOBODY = 65_534
_NS_PER_S = 1_000_000_000
_MOST_USERS = 512
_SYSTEM = -1
"""Stands for all users of the system together."""

NO_PROCESS = Names(why_none="which program sends it is not known, and so not what it has asked for")
NOT_ASKED = Names()
TOO_OLD = Names(why_none="the names of this address that programs have asked for are too old")

_OfAddresses = dict[bytes, tuple[Name, ...]]
_Key = tuple[int, int, int, int | Unknown]
"""Of a process: pid, start time, user and network namespace. What it has asked as another user, or
in another namespace, is another's."""


class Place(NamedTuple):
    """A name of an address, as a process has learnt it."""

    name: Name
    address: bytes
    pid: int
    start_time_ns: int
    uid: int
    netns: int | Unknown
    exe: str
    """The program that the process ran, or the name of its thread."""
    counts_ns: int
    """Until then it counts, stale or not (monotonic)."""


class _Group:
    """What all processes of one user in one network namespace have asked for."""

    __slots__ = ("addresses", "key", "users")

    def __init__(self, key: tuple[int, int]) -> None:
        self.key = key
        self.addresses: _OfAddresses = {}
        self.users = 0
        """Processes that have names in it."""


class _Asker:
    """A process, with what it has asked for; what it has learnt last comes last."""

    __slots__ = ("addresses", "count", "exe", "group", "key", "uid")

    def __init__(self, process: Process, group: _Group | None) -> None:
        self.key = _key(process)
        self.uid = process.uid
        path = process.exe.path
        self.exe = process.comm if isinstance(path, Unknown) else path
        self.group = group
        self.addresses: _OfAddresses = {}
        self.count = 0


class _User:
    """A user, with the processes that have asked; who has asked last comes last."""

    __slots__ = ("askers", "count")

    def __init__(self) -> None:
        self.askers: dict[_Key, _Asker] = {}
        self.count = 0


class KnownNames:
    """What is known, within bounds."""

    def __init__(self, home_netns: int, limits: Limits, keep_ns: int) -> None:
        self.limits = limits
        self.keep_ns = keep_ns
        """How long a name counts after its time is over, where there is none that is fresh."""
        self.forgotten = 0
        """Names that there was no room for any more."""
        self._home = home_netns
        self._now_ns = 0
        """When the last name was learnt."""
        self._count = 0
        self._askers: dict[_Key, _Asker] = {}
        self._users: dict[int, _User] = {}
        self._groups: dict[tuple[int, int], _Group] = {}

    def __len__(self) -> int:
        """Return how many names of addresses there are, old ones included."""
        return self._count

    def learn(self, process: Process, address: bytes, name: Name) -> None:
        """Remember that *process* has been given *address* for *name* (`Name.own` is set)."""
        self._now_ns = max(self._now_ns, name.known_ns)
        asker = self._asker(process)
        had = asker.addresses.pop(address, ())
        now = _latest_first(name, had)
        asker.addresses[address] = now
        self._add(asker, len(now) - len(had))
        if len(had) == MOST_OF_ADDRESS and had[-1] not in now and name.text != had[-1].text:
            self._note_forgotten(had[-1:])
        self._share(asker.group, address, name, had, now)
        self._keep_within(asker)

    def own(self, process: Process, address: bytes) -> tuple[Name, ...]:
        """Return the names of an address that the process itself has learnt, old ones included."""
        asker = self._askers.get(_key(process))
        return asker.addresses.get(address, ()) if asker else ()

    def of_others(self, process: Process, address: bytes) -> tuple[Name, ...]:
        """Return those that processes have learnt whose names count for it, old ones included."""
        groups = self._groups_for(process)
        return tuple(name for group in groups for name in group.addresses.get(address, ()))

    def names_of(self, owner: Owner, address: bytes, now_ns: int) -> Names:
        """Return the names of a packed address that count for what *owner* sends."""
        if isinstance(owner, Process):
            if not self._count:
                return NOT_ASKED
            asker = self._askers.get(_key(owner))
            if asker is not None and (own := asker.addresses.get(address)):
                names = self._that_count(own, now_ns)
                if names:
                    return Names(names)
            return self._names_of_others(self._groups_for(owner), address, now_ns)
        if isinstance(owner, Unknown):
            return NO_PROCESS
        system = self._groups.get((self._home, _SYSTEM))
        return self._names_of_others((system,) if system else (), address, now_ns)

    def listing(self, now_ns: int) -> Iterator[Place]:
        """Yield all names that count for anybody, the process that has asked first, first."""
        for asker in tuple(self._askers.values()):
            for address, names in tuple(asker.addresses.items()):
                for name in names:
                    end_ns = self._end_ns(name)
                    if now_ns <= end_ns:
                        yield Place(name, address, *asker.key, asker.exe, end_ns)

    def tidy(self, now_ns: int) -> None:
        """Forget what counts for nobody any more; nothing is lost."""
        for asker in tuple(self._askers.values()):
            for address, names in tuple(asker.addresses.items()):
                if all(now_ns > self._end_ns(name) for name in names):
                    self._now_ns = max(self._now_ns, now_ns)
                    self._forget(asker, address)

    def shrink(self) -> None:
        """Keep within `limits`, which may be others than before."""
        while self._count > self.limits.names:
            self._forget_oldest(self._largest_user())

    # how they are found

    def _groups_for(self, process: Process) -> tuple[_Group, ...]:
        netns, uid = process.netns, process.uid
        if isinstance(netns, Unknown):
            return ()
        system = self._groups.get((netns, _SYSTEM))
        its = None if _is_system(uid) else self._groups.get((netns, uid))
        return tuple(group for group in (its, system) if group is not None)

    def _names_of_others(self, groups: tuple[_Group, ...], address: bytes, now_ns: int) -> Names:
        found = [name for group in groups for name in group.addresses.get(address, ())]
        if not found:
            return NOT_ASKED
        if len(found) > 1:
            found.sort(key=_known_ns)
            found = list({name.text: name for name in found}.values())  # the latest of each text
            found.sort(key=_known_ns, reverse=True)
        names = self._that_count(tuple(found), now_ns)
        return Names(tuple(each._replace(own=False) for each in names)) if names else TOO_OLD

    def _that_count(self, names: tuple[Name, ...], now_ns: int) -> tuple[Name, ...]:
        """Return the fresh ones; where there are none, those that are stale, and not too old."""
        young = tuple(name for name in names if now_ns <= self._end_ns(name))
        return tuple(name for name in young if not name.is_stale(now_ns)) or young

    def _end_ns(self, name: Name) -> int:
        return name.known_ns + max(name.ttl_s or 0, LEAST_FRESH_S) * _NS_PER_S + self.keep_ns

    # how they are kept

    def _asker(self, process: Process) -> _Asker:
        """Return the entry of a process, as the one that has asked last."""
        key = _key(process)
        asker = self._askers.get(key)
        if asker is None:
            asker = self._askers[key] = _Asker(process, self._join(process))
        if process.uid not in self._users and len(self._users) >= _MOST_USERS:
            self._forget_user(self._user_to_forget())
        user = self._users.pop(process.uid, None) or _User()
        self._users[process.uid] = user
        user.askers.pop(key, None)
        user.askers[key] = asker
        return asker

    def _join(self, process: Process) -> _Group | None:
        if isinstance(process.netns, Unknown):
            return None
        key = (process.netns, _group_of(process.uid))
        group = self._groups.setdefault(key, _Group(key))
        group.users += 1
        return group

    def _share(
        self,
        group: _Group | None,
        address: bytes,
        name: Name,
        had: tuple[Name, ...],
        now: tuple[Name, ...],
    ) -> None:
        if group is None:
            return
        gone = [each for each in had if each not in now]
        shared = tuple(each for each in group.addresses.get(address, ()) if each not in gone)
        group.addresses[address] = _latest_first(name, shared)

    def _keep_within(self, asker: _Asker) -> None:
        while asker.count > self.limits.names_of_process:
            self._forget(asker, next(iter(asker.addresses)))
        self.shrink()

    def _largest_user(self) -> _User:
        return max(self._users.values(), key=_count)

    def _forget_oldest(self, user: _User) -> None:
        asker = next(iter(user.askers.values()))
        self._forget(asker, next(iter(asker.addresses)))

    def _user_to_forget(self) -> int:
        """Return who has asked nothing for the longest time, of those whom one person may be many.

        Anybody may have thousands of subordinate user ids (subuid(5)): they push out each other.
        """
        may_be_one = (uid for uid in self._users if uid > NOBODY)
        return next(may_be_one, next(iter(self._users)))

    def _forget_user(self, uid: int) -> None:
        for asker in tuple(self._users[uid].askers.values()):
            for address in tuple(asker.addresses):
                self._forget(asker, address)

    def _forget(self, asker: _Asker, address: bytes) -> None:
        gone = asker.addresses.pop(address)
        self._note_forgotten(gone)
        group = asker.group
        if group is not None:
            left = tuple(each for each in group.addresses.get(address, ()) if each not in gone)
            if left:
                group.addresses[address] = left
            else:
                group.addresses.pop(address, None)
        self._add(asker, -len(gone))
        if not asker.addresses:
            self._leave(asker)

    def _note_forgotten(self, names: tuple[Name, ...]) -> None:
        """Count what would have counted for somebody still."""
        self.forgotten += sum(self._now_ns <= self._end_ns(name) for name in names)

    def _add(self, asker: _Asker, number: int) -> None:
        asker.count += number
        self._users[asker.uid].count += number
        self._count += number

    def _leave(self, asker: _Asker) -> None:
        del self._askers[asker.key]
        user = self._users[asker.uid]
        del user.askers[asker.key]
        if not user.askers:
            del self._users[asker.uid]
        if asker.group is not None:
            asker.group.users -= 1
            if not asker.group.users:
                del self._groups[asker.group.key]


def _key(process: Process) -> _Key:
    return process.pid, process.start_time_ns, process.uid, process.netns


def _is_system(uid: int) -> bool:
    return uid < FIRST_UID or uid == NOBODY


def _group_of(uid: int) -> int:
    return _SYSTEM if _is_system(uid) else uid


def _latest_first(name: Name, others: tuple[Name, ...]) -> tuple[Name, ...]:
    kept = (each for each in others if each.text != name.text)
    return (name, *kept)[:MOST_OF_ADDRESS]


def _known_ns(name: Name) -> int:
    return name.known_ns


def _count(user: _User) -> int:
    return user.count
