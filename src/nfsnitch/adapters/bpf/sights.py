"""What sees names being asked for, in whatever attach mode: as much of it as can be had.

The mode does without if it must: a kernel that lets nobody see names still says whose a packet is.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from nfsnitch.adapters.bpf.core_loader import Attachment
from nfsnitch.adapters.bpf.libc_places import LibcError, places

DNS = (
    Attachment("nfsnitch_names_out", to_cgroup=True),
    Attachment("nfsnitch_names_in", to_cgroup=True),
)
"""What sees questions and answers of DNS."""
_BY_NAME = ("gethostbyname_r", "gethostbyname2_r")
"""gethostbyname() and gethostbyname2() call these."""
LIBC = (
    Attachment("nfsnitch_getaddrinfo_done", of_libc=("getaddrinfo",)),
    Attachment("nfsnitch_gethostbyname_done", of_libc=_BY_NAME),
    Attachment("nfsnitch_getaddrinfo", of_libc=("getaddrinfo",)),
    Attachment("nfsnitch_gethostbyname", of_libc=_BY_NAME[:1]),
    Attachment("nfsnitch_gethostbyname2", of_libc=_BY_NAME[1:]),
)
"""What sees what the C library is asked, and says."""

_EARLIER = "it could not be had when the eBPF programs were loaded"


class Problems(NamedTuple):
    """Why something is not seen; None: it is."""

    dns: str | None = None
    libc: str | None = None


class Sight(NamedTuple):
    """One of the sets of programs that may be had."""

    attachments: tuple[Attachment, ...]
    known: Problems
    """Without having tried."""

    def problems(self, why: str | None) -> Problems:
        """Return why it is not more; *why* the set before this one was refused."""
        there = {*self.attachments}
        return Problems(
            self.known.dns or (None if there.issuperset(DNS) else why),
            self.known.libc or (None if there.issuperset(LIBC) else why),
        )

    @property
    def links(self) -> frozenset[str]:
        """Return the names of its links."""
        return frozenset(chain.from_iterable(each.links for each in self.attachments))


def sights() -> Iterator[Sight]:
    """Yield the sets in the order in which to try them: what sees most comes first."""
    known = Problems()
    try:
        places(chain.from_iterable(each.of_libc for each in LIBC))
    except LibcError as problem:
        known = Problems(libc=str(problem))
    else:
        yield Sight((*DNS, *LIBC), known)
    yield Sight(DNS, known)
    yield Sight((), known)


def all_sights() -> Iterator[Sight]:
    """Yield the sets that programs loaded at another time may have."""
    for attachments in ((*DNS, *LIBC), DNS, ()):
        yield Sight(attachments, Problems())


def problems_of(links: set[str]) -> Problems:
    """Return what is not seen by programs with these *links*, and why as far as is known."""
    dns, libc = Sight(DNS, Problems()).links, Sight(LIBC, Problems()).links
    known = next(sights()).known
    return Problems(
        None if links >= dns else _EARLIER,
        None if links >= libc else known.libc or _EARLIER,
    )
