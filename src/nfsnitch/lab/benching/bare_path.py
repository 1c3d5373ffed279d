"""``python -m nfsnitch.lab.benching.bare_path [QUEUE | accept]``: new flows' packets to a queue.

Says what queues packets here, ``nft`` or ``iptables``; without QUEUE that is all. With ``accept``
they are let go instead: what is left is connection tracking.

In the namespace in which it is run, and by what nfsnitch itself would use there: the queue of nft,
or where the kernel has none one rule of iptables-nft for packets that nft has marked. Nothing else:
no mark is looked at or taken off again, and nothing is remembered of a flow.
"""

from __future__ import annotations

import sys

from nftables import Nftables

from nfsnitch.adapters.iptables import QueueRule
from nfsnitch.adapters.nft import NftError, NftRuleset

_BIT = 0x10000000
_TABLE = """
table inet nfsnitch_bench {{
    chain pick {{
        type filter hook output priority 149; policy accept;
        ct state new {action}
    }}
}}
"""


ACCEPT = "accept"


def ruleset(queue_num: int | None, *, nft_queues: bool) -> str:
    """Return the rules as nft text; those that queue nothing if *queue_num* is None."""
    if queue_num is None:
        return _TABLE.format(action=ACCEPT)
    marked = f"meta mark set meta mark | {_BIT:#x}"
    return _TABLE.format(action=f"queue num {queue_num}" if nft_queues else marked)


def main() -> None:
    """Put it in force, and say how packets are queued."""
    nft_queues = NftRuleset().can_queue()
    for word in sys.argv[1:]:
        _install(None if word == ACCEPT else int(word), nft_queues=nft_queues)
    sys.stdout.write("nft\n" if nft_queues else "iptables\n")


def _install(queue_num: int | None, *, nft_queues: bool) -> None:
    code, _, problem = Nftables().cmd(ruleset(queue_num, nft_queues=nft_queues))
    if code:
        raise NftError(problem.strip())
    if queue_num is not None and not nft_queues:
        QueueRule(queue_num, _BIT).install()


if __name__ == "__main__":
    main()
