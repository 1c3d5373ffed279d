"""What plays of reloads have in common: rules that change, and programs that talk meanwhile."""

from __future__ import annotations

import signal
import time
from datetime import datetime

from nfsnitch.core.record import Json
from nfsnitch.lab.firewall import Firewall
from nfsnitch.lab.process import Child
from nfsnitch.lab.services import ECHO_PORT
from nfsnitch.lab.world import World

THERE = "192.0.2.1"
STREAM_PORT = 5_555
AT_MOST_S = 1.0
"""How long it may take until a flow that the new rules refuse is cut."""

TALKER = """
import socket, sys, time
kind, host, port, connect = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "connect"
sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET,
                     socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
if connect:
    sock.connect((host, port))
else:
    sock.bind(("::" if ":" in host else "0.0.0.0", 0))
sock.settimeout(0.02)
print("port", sock.getsockname()[1], flush=True)
sent = 0
while True:
    try:
        sock.send(b"x") if connect else sock.sendto(b"x", (host, port))
        sent += 1
        print("sent", sent, flush=True)
        time.sleep(0.01)
        if not sock.recv(99):
            raise ConnectionError("end of file")
    except TimeoutError:
        continue
    except PermissionError:
        print("refused", flush=True)
    except OSError as problem:
        print("ended", time.time(), type(problem).__name__, flush=True)
        break
sys.stdin.read()
"""
"""Sends a byte every hundredth of a second, takes what comes back, and says how it goes."""


def talker(world: World, kind: str, host: str, port: int, how: str = "connect") -> Child:
    """Start a program that talks without end, and return once it has been answered."""
    argv = ["python3", "-I", "-S", "-c", TALKER, kind, host, str(port), how]
    child = world.spawn(argv)
    child.wait_for_line(child.stdout, lambda line: line.startswith("sent 12"), 10)
    return child


def said(child: Child, beginning: str, timeout_s: float = 10) -> list[str]:
    """Return the words of the program's first line that begins so."""
    line = child.wait_for_line(child.stdout, lambda text: text.startswith(beginning), timeout_s)
    return line.split()


def goes_on(child: Child) -> None:
    """Wait until the program has sent some more."""
    sent = sum(line.startswith("sent ") for line in child.stdout.lines())
    assert said(child, f"sent {sent + 20}")


def moment(record: Json) -> float:
    """Return when a record was made, in seconds since 1970."""
    return datetime.fromisoformat(record["time"]).timestamp()


def deciding(action: str, *more: str, default: str = "deny") -> str:
    """Return rules that give everything to the echo port this action."""
    rules = [*more, f"{{name: echo, action: {action}, dport: [{ECHO_PORT}, {STREAM_PORT}]}}"]
    return f"default: {default}\nrules:\n" + "".join(f"  - {rule}\n" for rule in rules)


def reload(firewall: Firewall) -> float:
    """Have the rules read again; returns the time at which that was asked for."""
    now = time.time()
    firewall.child.send(signal.SIGHUP)
    return now
