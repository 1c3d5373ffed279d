"""Accepts every packet of an NFQUEUE, and does nothing else: ``python_worker.py QUEUE``.

What a decision in Python costs at least. Says "ready" once it has the queue; runs until killed.
"""

import sys

from netfilterqueue import NetfilterQueue, Packet

_QUEUE_LENGTH = 32_768
_SOCKET_BYTES = 16 << 20
"""Both as nfsnitch has them."""


def _accept(packet: Packet) -> None:
    packet.accept()


def _main() -> None:
    queue = NetfilterQueue()
    queue.bind(int(sys.argv[1]), _accept, max_len=_QUEUE_LENGTH, sock_len=_SOCKET_BYTES)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    queue.run()


if __name__ == "__main__":
    _main()
