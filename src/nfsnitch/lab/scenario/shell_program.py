"""An interactive scapy, or a script with all of scapy in it: a program of the lab's client.

``python -m nfsnitch.lab.scenario.shell_program [FILE.py]``. What `send` and `sr` send goes through
raw sockets, where netfilter sees it; what `sendp` sends is frames, which no firewall of this kind
sees (to nfsnitch it is the opening of a packet socket).
"""

from __future__ import annotations

import os
import runpy
import signal
import socket
import sys
from typing import Any

_IPV6 = 6
BANNER = """\
send(IP(dst="198.51.100.2")/UDP(dport=9)/b"hello")   # through the firewall, by a raw socket
sr1(IP(dst="198.51.100.2")/ICMP(), timeout=2)        # and the answer
exit() or Ctrl-D takes everything down.
"""


def main() -> None:
    """Take the terminal, and let somebody type; or run the script."""
    # Names without end, as everybody has them who types: which is what this is for.
    from scapy import all as everything  # noqa: PLC0415  it looks at the interfaces that are here
    from scapy.config import conf  # noqa: PLC0415

    conf.L3socket = conf.L3socket6 = _raw_sockets()
    conf.verb = 0
    if len(sys.argv) > 1:
        runpy.run_path(sys.argv[1], init_globals=dict(vars(everything)), run_name="__main__")
        return
    _take_terminal()
    from scapy.main import interact  # noqa: PLC0415

    sys.stdout.write(BANNER)
    sys.stdout.flush()
    interact(argv=["scapy", "-H"])


def _raw_sockets() -> type[Any]:
    """Return what scapy is to send packets by: for both families, of which it asks for one.

    Those that send stay open as long as the program: whose a packet was is hard to say of a socket
    that is closed the next moment.
    """
    from scapy.data import ETH_P_ALL  # noqa: PLC0415
    from scapy.supersocket import L3RawSocket  # noqa: PLC0415

    ipv4, ipv6 = (
        socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
        for family in (socket.AF_INET, socket.AF_INET6)
    )
    ipv4.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)

    class RawSockets(L3RawSocket):
        """Sends IPv4 and IPv6 by raw sockets, and sees what comes."""

        def __init__(self, **given: Any) -> None:  # noqa: ANN401  as scapy calls it
            """See what comes to the interface that was given, or to any."""
            interface = given.get("iface")
            self.iface = "any" if interface is None else interface
            self.outs = ipv4
            self.ins = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self.auxdata_available = False
            if interface is not None:
                self.ins.bind((str(interface), ETH_P_ALL))

        def send(self, x: Any) -> int:  # noqa: ANN401
            """Send a packet; return how many bytes the kernel took."""
            self.outs = ipv6 if x.version == _IPV6 else ipv4
            return int(super().send(x))

        def close(self) -> None:
            """See no more."""
            self.outs = None
            super().close()

    return RawSockets


def _take_terminal() -> None:
    """Be what Ctrl-C is meant for: the firewall was started at the same terminal."""
    if not sys.stdin.isatty():
        return
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    os.setpgid(0, 0)
    os.tcsetpgrp(sys.stdin.fileno(), os.getpgrp())


if __name__ == "__main__":
    main()
