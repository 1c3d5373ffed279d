"""Hears of names before the packets that follow from them are decided."""

from __future__ import annotations

import collections
from collections.abc import Callable

from nfsnitch.adapters.bpf.name_samples import NameSamples
from nfsnitch.adapters.bpf.owners import OwnerStore
from nfsnitch.core.counters import Counter
from nfsnitch.core.name import Names
from nfsnitch.core.name_sample import LibcAnswer
from nfsnitch.core.owner import Owner
from nfsnitch.core.settings import Settings
from nfsnitch.core.unknown import Unknown
from nfsnitch.naming.names import HostNames

_NO_SOCKET = Unknown("eBPF has not seen this socket")


class Hearing:
    """Takes what eBPF has seen of names to those who know what it means."""

    def __init__(
        self,
        samples: NameSamples,
        owners: OwnerStore,
        home_netns: int,
        settings: Settings,
        now_ns: Callable[[], int],
        counters: collections.Counter[Counter],
    ) -> None:
        """*home_netns*: inode number of ours; *now_ns*: the monotonic clock."""
        self._samples = samples
        self._owners = owners
        self._now_ns = now_ns
        self._hears_libc = settings.names.libc
        self.known = HostNames(self._owner_of, home_netns, settings, counters)

    def use(self, settings: Settings) -> None:
        """Go by *settings* from here on."""
        self._hears_libc = settings.names.libc
        self.known.set(settings)

    def names_of(self, owner: Owner, daddr: bytes) -> Names:
        """Return the names that count for what *owner* sends to a packed address now.

        Whatever has been answered before that was sent has been heard of then: see `NameSamples`.
        """
        if self._samples.has_some:
            self.listen()
        return self.known.names_of(owner, daddr, self._now_ns())

    def listen(self) -> None:
        """Hear of what has been seen since."""
        for sample in self._samples.drain():
            if self._hears_libc or not isinstance(sample, LibcAnswer):
                self.known.take(sample)

    def before(self, look: Callable[[], None]) -> Callable[[], None]:
        """Return what listens, and then does *look*.

        Owners of closed sockets are removed in time: what these sockets were told must have been
        heard of before, or nobody knows whose it was.
        """

        def listen_and_look() -> None:
            self.listen()
            look()

        return listen_and_look

    def fileno(self) -> int:
        """Return the descriptor that is readable when `listen` should not wait for its second."""
        return self._samples.fileno()

    def close(self) -> None:
        """Hear of nothing any more."""
        self._samples.close()

    def _owner_of(self, sock_cookie: int) -> Owner:
        user = self._owners.socket_user(sock_cookie)
        return _NO_SOCKET if user is None else user.owner
