"""Who has how much of what there is a bounded amount of, so that nobody takes it from others."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from nfsnitch.core.owner import Owner, Process

Key = TypeVar("Key", bound=Hashable)

User = int | None
"""A user's number; None: nobody knows who."""


def user_of(owner: Owner) -> User:
    """Return whose share it is that *owner* uses."""
    return owner.uid if isinstance(owner, Process) else None


class Shares(Generic[Key]):
    """Things that users have, by key, in the order in which they were last used."""

    def __init__(self) -> None:
        self._users: OrderedDict[Key, User] = OrderedDict()
        self._amounts = Counter[User]()

    def use(self, key: Key, user: User) -> None:
        """Take note that *user* has something, or uses it again; it stays the first one's."""
        self._users.setdefault(key, user)
        self._users.move_to_end(key)

    def add(self, key: Key, amount: int) -> None:
        """Count so much more (or less) for who has it."""
        self._amounts[self._users[key]] += amount

    def remove(self, key: Key) -> None:
        """Take note that something is gone; what was counted for it must be taken off before."""
        user = self._users.pop(key)
        if not self._amounts[user]:
            del self._amounts[user]

    def one_too_many(self) -> Key:
        """Return what the user who has most has not used for the longest time."""
        (largest, _), *_ = self._amounts.most_common(1)
        return next(key for key, user in self._users.items() if user == largest)
