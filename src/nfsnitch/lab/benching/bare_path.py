"""``python -m nfsnitch.lab.benching.bare_path [QUEUE | accept]``: new flows' packets to a queue.

Says what queues packets here, ``nft`` or ``xtables``; without QUEUE that is all. With ``accept``
they are let go instead: what is left is connection tracking.

In the namespace in which it is run, and by what nfsnitch itself would use there: the queue of nft,
or where the kernel has none iptables' target NFQUEUE. Nothing else: no mark is looked at, and
nothing is remembered of a flow.
"""

from __future__ import annotations

import sys

from nftables import Nftables

from nfsnitch.adapters.nft import NftError, NftRuleset, Queueing
from nfsnitch.adapters.queue_target import queue_by_target

_NAME, _WORKER = "nfsnitch_bench", "worker"
_TABLE = f"""
table inet {_NAME} {{{{
    chain {_WORKER} {{{{
    }}}}

    chain pick {{{{
        type filter hook output priority 149; policy accept;
        ct state new {{action}}
    }}}}
}}}}
"""


ACCEPT = "accept"


def ruleset(queue_num: int | None, queueing: Queueing) -> str:
    """Return the rules as nft text; those that queue nothing if *queue_num* is None."""
    if queue_num is None:
        return _TABLE.format(action=ACCEPT)
    by_nft = queueing is Queueing.NFT
    return _TABLE.format(action=f"queue num {queue_num}" if by_nft else f"goto {_WORKER}")


def main() -> None:
    """Put it in force, and say how packets are queued."""
    queueing = Queueing.NFT if NftRuleset().can_queue() else Queueing.XTABLES
    for word in sys.argv[1:]:
        _install(None if word == ACCEPT else int(word), queueing)
    sys.stdout.write(f"{queueing}\n")


def _install(queue_num: int | None, queueing: Queueing) -> None:
    code, _, problem = Nftables().cmd(ruleset(queue_num, queueing))
    if code:
        raise NftError(problem.strip())
    if queue_num is not None and queueing is Queueing.XTABLES:
        queue_by_target(_NAME, _WORKER, queue_num)


if __name__ == "__main__":
    main()
