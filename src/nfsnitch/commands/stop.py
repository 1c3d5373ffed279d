"""``nfsnitch stop``: have the daemon stop cleanly, and wait until it has."""

from __future__ import annotations

import argparse
import math
import time

from nfsnitch.commands.asking import add_daemon_options, asking
from nfsnitch.control_client import Client, ControlError, wait_until_readable
from nfsnitch.protocol import Stopping, StopRequest

_TIMEOUT_S = 30.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what the command line understands."""
    parser.description = (
        "Have the daemon stop and take its ruleset away (root only), and wait until it is gone."
    )
    add_daemon_options(parser)
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=_TIMEOUT_S,
        metavar="S",
        help="wait so many seconds at most (default: %(default)g)",
    )
    parser.set_defaults(
        command=lambda options: asking(options, lambda client: stop_daemon(client, options.timeout))
    )


def stop_daemon(client: Client, timeout_s: float) -> int:
    """Have it stop, and wait until it has; return the exit status 0.

    Raises:
        ControlError: it did not.

    """
    end_s = time.monotonic() + timeout_s
    # Before it is asked: later the number may be another process's.
    process = client.daemon_pidfd()
    client.ask(StopRequest(), Stopping)
    if process is None:
        while client.receive(end_s - time.monotonic()) is not None:
            pass
    elif not wait_until_readable(process, end_s - time.monotonic()):
        raise ControlError(f"the daemon still runs after {timeout_s:g} s")
    return 0


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= 86_400:  # noqa: PLR2004  a day
        raise argparse.ArgumentTypeError("it takes a number of seconds above 0, a day at most")
    return seconds
