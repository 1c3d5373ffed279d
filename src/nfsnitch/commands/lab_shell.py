"""``nfsnitch lab shell``: scapy by hand, in a network with the firewall running."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nfsnitch.commands.asking import say
from nfsnitch.commands.lab_run import BAD_FILES, lacks_scapy, loaded
from nfsnitch.commands.record_line import record_line
from nfsnitch.core.attach import AttachMode
from nfsnitch.core.text import shown

if TYPE_CHECKING:
    from nfsnitch.lab.scenario.model import Scenario
    from nfsnitch.lab.scenario.scene import Scene


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what the command line understands."""
    parser.description = (
        "Build a network with the firewall running, and open an interactive scapy in its client "
        "(root only). Every decision is shown as it is made. The end of scapy takes everything "
        "down; its exit status is the command's."
    )
    parser.add_argument(
        "scenario",
        nargs="?",
        type=Path,
        metavar="SCENARIO",
        help="whose network, rules, programs and files there are (default: the usual network, in "
        "which everything may)",
    )
    parser.add_argument(
        "--command",
        dest="script",
        type=Path,
        metavar="FILE",
        help="run this script, which has all of scapy's names, in the place of typing",
    )
    parser.add_argument(
        "--attach",
        choices=[each.value for each in AttachMode],
        help="attach mode of the firewall (default: the best there is)",
    )
    parser.set_defaults(command=shell)


def shell(options: argparse.Namespace) -> int:
    """Build, lend the terminal, take down; return the exit status."""
    if lacks_scapy():
        return 1
    if os.geteuid():
        say("the lab makes network namespaces: it needs root")
        return 1
    from nfsnitch.lab.scenario.shell import USUAL  # noqa: PLC0415  only the lab has scapy
    from nfsnitch.lab.waiting import LabError  # noqa: PLC0415

    scenario: Scenario = USUAL
    if options.scenario is not None:
        scenarios = loaded([options.scenario])
        if scenarios is None:
            return BAD_FILES
        (scenario,) = scenarios
    try:
        return _played(scenario, options)
    except LabError as error:
        say(shown(str(error)))
        return 1


def _played(scenario: Scenario, options: argparse.Namespace) -> int:
    from nfsnitch.lab.scenario import shell as by_hand  # noqa: PLC0415  see above

    attach = None if options.attach is None else AttachMode(options.attach)
    with by_hand.played_by_hand(scenario, attach) as scene:
        for line in by_hand.what_is_there(scene):
            _tell(line)
        with by_hand.terminal_lent():
            child = by_hand.start_scapy(scene, options.script)
            number = _tell_records(scene, 0, child.pidfd)
            status = child.wait(0)
        scene.stage.settle()
        _tell_records(scene, number, child.pidfd)
        return status if status >= 0 else 128 - status


def _tell_records(scene: Scene, start: int, ends_fd: int) -> int:
    """Show records from number *start* on until that program has ended; return how many."""
    colour = sys.stderr.isatty()
    for record in scene.stage.daemon.firewall.follow(ends_fd, start):
        _tell(record_line(record, colour=colour))
        start += 1
    return start


def _tell(line: str) -> None:
    # Where scapy's own output goes is for whoever reads that.
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
