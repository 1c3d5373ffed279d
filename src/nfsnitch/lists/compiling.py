"""All that a list says → the sections of its compiled form."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address
from itertools import accumulate

import marisa_trie

from nfsnitch.lists.gathering import LINE, Gathered
from nfsnitch.lists.items import Network
from nfsnitch.lists.layout import FLAGGED, IPV4, IPV6, LINES, LOW, LOW_BITS, TRIE
from nfsnitch.lists.ranges import stretches

IPV4_BITS, IPV6_BITS = 32, 128
_EVERY_NAMES = 16_384


def sections_of(
    gathered: Gathered, progress: Callable[[int], None] | None = None
) -> dict[str, bytes]:
    """Return the sections; those of names or networks that there are none of are left out.

    *progress* is told of how many names the line has been noted.
    """
    sections: dict[str, bytes] = {}
    if gathered.names:
        sections.update(_of_names(gathered.names, progress))
    for version in (IPV4, IPV6):
        blocks = sorted(each for each in gathered.networks if each.version == version)
        if blocks:
            sections.update(_of_blocks(blocks, gathered.networks, version))
    return sections


def _of_names(
    names: Mapping[str, int], progress: Callable[[int], None] | None
) -> Iterator[tuple[str, bytes]]:
    # One trie within the other would be a third smaller, and look-ups take twice as long.
    trie = marisa_trie.Trie(names, num_tries=1, cache_size=marisa_trie.HUGE_CACHE)
    lines = array("I", bytes(4 * len(names)))
    for done, (key, line) in enumerate(names.items()):
        lines[trie[key]] = line
        if progress is not None and done % _EVERY_NAMES == 0:
            progress(done)
    yield TRIE, trie.tobytes()
    yield LINES, lines.tobytes()
    if any(line > LINE for line in names.values()):
        yield FLAGGED, b""


def _of_blocks(
    blocks: list[Network], lines: Mapping[Network, int], version: int
) -> Iterator[tuple[str, bytes]]:
    bits = IPV4_BITS if version == IPV4 else IPV6_BITS
    found = stretches([(each.first, each.prefix) for each in blocks], bits)
    if version == IPV4:
        yield "v4_starts", array("I", (each.first for each in found)).tobytes()
    else:
        yield "v6_high", array("Q", (each.first >> LOW_BITS for each in found)).tobytes()
        yield "v6_low", array("Q", (each.first & LOW for each in found)).tobytes()
    yield f"v{version}_blocks", array("I", (each.block for each in found)).tobytes()
    # What is asked for by number begins with one that stands for none.
    numbers = array("I", [0])
    numbers.extend(lines[each] for each in blocks)
    yield f"v{version}_lines", numbers.tobytes()
    texts = [b"", *map(_text, blocks)]
    yield f"v{version}_texts", b"".join(texts)
    yield f"v{version}_text_ends", array("I", accumulate(map(len, texts))).tobytes()


def _text(block: Network) -> bytes:
    address = IPv4Address(block.first) if block.version == IPV4 else IPv6Address(block.first)
    return f"{address}/{block.prefix}".encode("ascii")
