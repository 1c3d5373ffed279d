"""``python -m nfsnitch.lab.benching.bare_path [QUEUE]``: every new flow's packets to a queue.

Says what queues packets here, ``nft`` or ``iptables``; without QUEUE that is all.

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


def ruleset(queue_num: int, *, nft_queues: bool) -> str:
    """Return the rules as nft text."""
    marked = f"meta mark set meta mark | {_BIT:#x}"
    return _TABLE.format(action=f"queue num {queue_num}" if nft_queues else marked)


def main() -> None:
    """Put it in force, and say how packets are queued."""
    nft_queues = NftRuleset().can_queue()
    for word in sys.argv[1:]:
        _install(int(word), nft_queues=nft_queues)
    sys.stdout.write("nft\n" if nft_queues else "iptables\n")


def _install(queue_num: int, *, nft_queues: bool) -> None:
    code, _, problem = Nftables().cmd(ruleset(queue_num, nft_queues=nft_queues))
    if code:
        raise NftError(problem.strip())
    if not nft_queues:
        QueueRule(queue_num, _BIT).install()


if __name__ == "__main__":
    main()
