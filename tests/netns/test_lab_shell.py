"""``nfsnitch lab shell``: scapy in the client, by a script and by hand."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

from nfsnitch.lab.process import same_modules
from nfsnitch.lab.waiting import PATIENCE, Deadline

pytestmark = [pytest.mark.undisturbed, pytest.mark.root, pytest.mark.netns, pytest.mark.bpf]

SHELL = (sys.executable, "-m", "nfsnitch.cli", "lab", "shell")
SCRIPT = """
import sys
send(IP(dst="198.51.100.2") / UDP(sport=5353, dport=9) / b"hello")
send(IPv6(dst="2001:db8:1::2") / UDP(sport=5353, dport=9) / b"hello")
print(sr1(IP(dst="198.51.100.2") / ICMP(), timeout=20).summary())
sys.exit(7)
"""
SCENARIO = """
shows: Datagrams are refused, and a ping is answered.
rules: |
  version: 1
  default: allow
  rules: [{name: no datagrams, action: deny, proto: udp}]
steps: [{expect: {no_record: {dport: 1}}}]
"""


def test_a_script_has_all_of_scapy_and_its_packets_are_decided(tmp_path: Path) -> None:
    script, scenario = tmp_path / "script.py", tmp_path / "scenario.yaml"
    script.write_text(SCRIPT, "utf-8")
    scenario.write_text(SCENARIO, "utf-8")
    done = subprocess.run(
        [*SHELL, "--command", str(script), str(scenario)],
        env=os.environ | same_modules(),
        capture_output=True,
        text=True,
        timeout=100 * PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (
        7,
        "IP / ICMP 198.51.100.2 > 192.0.2.2 echo-reply 0\n",
    ), done.stderr
    lines = done.stderr.splitlines()
    assert lines[0].startswith("client    192.0.2.2 2001:db8::2 ")
    told = (re.sub(r"^\S+ +(\w+) .*  (?=udp|icmp)", r"\1 ", line) for line in lines)
    assert [line for line in told if line.startswith(("accept ", "drop "))] == [
        "drop udp → 198.51.100.2:9  rule 'no datagrams'",
        "drop udp → [2001:db8:1::2]:9  rule 'no datagrams'",
        "accept icmp → 198.51.100.2  default",
    ]


class Terminal:
    """A terminal at which the shell runs."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.said = ""

    def type(self, text: str) -> None:
        """Type something."""
        os.write(self._descriptor, text.encode())

    def wait_for(self, text: str) -> None:
        """Wait until that has been said."""
        deadline = Deadline(60)
        while text not in self.said:
            assert deadline.left_s(), self.said
            if select.select([self._descriptor], [], [], deadline.left_s())[0]:
                self.said += os.read(self._descriptor, 1 << 16).decode("utf-8", "replace")


def test_somebody_types_sees_records_and_interrupts_nothing_but_scapy(tmp_path: Path) -> None:
    pid, descriptor = pty.fork()
    if not pid:
        os.chdir(tmp_path)
        os.execve(sys.executable, SHELL, os.environ | same_modules())  # noqa: S606
    terminal = Terminal(descriptor)
    terminal.wait_for("exit() or Ctrl-D takes everything down.")
    terminal.wait_for(">>> ")
    terminal.type("send(IP(dst='198.51.100.2')/UDP(dport=9)/b'hello')\n")
    terminal.wait_for("udp → 198.51.100.2:9  default")
    terminal.type("\x03")
    terminal.wait_for("KeyboardInterrupt")
    terminal.type("send(IP(dst='198.51.100.2')/UDP(dport=7)/b'hello')\n")
    terminal.wait_for("udp → 198.51.100.2:7  default")
    terminal.type("\x04")
    terminal.wait_for("now exiting")
    _, status = os.waitpid(pid, 0)
    os.close(descriptor)
    assert os.waitstatus_to_exitcode(status) == 0
