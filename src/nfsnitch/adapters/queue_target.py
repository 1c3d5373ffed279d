"""What queues in our table where the kernel's nft has no ``queue``: iptables' target NFQUEUE."""

from __future__ import annotations

from struct import Struct

from nfsnitch.adapters import nft_extensions
from nfsnitch.adapters.nft_extensions import Kind

_TARGET, _REVISION = "NFQUEUE", 3
_XT_NFQ_INFO = Struct("=HHH2x")
"""``struct xt_NFQ_info_v3``: number, how many from there on, flags."""
_BYPASS = 1
"""NFQ_FLAG_BYPASS"""


class QueueTargetError(Exception):
    """The kernel refused; the message says why and what to do."""


def queue_by_target(table: str, chain: str, queue_num: int, *, bypass: bool = False) -> None:
    """Have all packets that come to *chain* of the inet *table* queued, whatever it held before.

    With *bypass* they go on where nobody reads that queue; else the kernel drops them.

    Raises:
        QueueTargetError: the kernel refused; the chain is as it was.
        OSError: there is no netlink socket to be had.

    """
    info = _XT_NFQ_INFO.pack(queue_num, 1, _BYPASS if bypass else 0)
    rule = nft_extensions.extension(Kind.TARGET, _TARGET, _REVISION, info)
    why = nft_extensions.replace(table, chain, [rule])
    if why is not None:
        raise QueueTargetError(
            f"packets cannot be queued by the target NFQUEUE: {why}; use a kernel whose nft can "
            "queue (CONFIG_NFT_QUEUE), or one with that target (CONFIG_NFT_COMPAT, "
            "CONFIG_NETFILTER_XT_TARGET_NFQUEUE)"
        )
