"""``nfsnitch run``: enforce rules until told to stop."""

from __future__ import annotations

import argparse
from pathlib import Path

from nfsnitch.adapters.rulefile.problems import quoted
from nfsnitch.commands.common_options import add_forward, add_queue, add_rules, rules_of
from nfsnitch.core.attach import AttachMode
from nfsnitch.core.loader import Loader
from nfsnitch.lean import import_asyncio
from nfsnitch.options import DEFAULT_STATE, RunOptions


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what the command line understands."""
    parser.description = "Enforce rules in this network namespace until SIGTERM or SIGINT."
    add_rules(parser)
    parser.add_argument(
        "--attach",
        type=_attach_mode,
        default=AttachMode.AUTO,
        metavar="MODE",
        help="where to put the eBPF programs: auto (the best that works), lsm, kprobe, cgroup",
    )
    parser.add_argument(
        "--bpf",
        type=_loader,
        default=Loader.AUTO,
        metavar="LOADER",
        help="how the eBPF programs come to fit the kernel: auto (core where it has BTF, else "
        "bcc), core (built before), bcc (compiled now)",
    )
    parser.add_argument(
        "--cgroup",
        type=Path,
        metavar="PATH",
        help="put the hooks of a cgroup on this directory; mode cgroup watches processes below it",
    )
    add_forward(parser)
    add_queue(parser)
    parser.add_argument(
        "--records", metavar="FILE", help="append a JSON line per decision; - for standard output"
    )
    parser.add_argument(
        "--state",
        type=Path,
        default=DEFAULT_STATE,
        metavar="PATH",
        help="directory of what is kept over restarts (default: %(default)s)",
    )
    parser.add_argument(
        "--socket", type=Path, metavar="PATH", help="control socket (default: by the namespace)"
    )
    parser.add_argument(
        "--group",
        metavar="NAME",
        help="members may watch without being root (default: nfsnitch, if there is that group)",
    )
    parser.add_argument(
        "--answer-group",
        metavar="NAME",
        help="members may answer as well (default: nfsnitch-answer, if there is that group)",
    )
    parser.add_argument(
        "--answers",
        type=Path,
        metavar="FILE",
        help="rules that answers make (default: answers.yaml in the --state directory)",
    )
    parser.add_argument(
        "--no-cache",
        dest="cache",
        action="store_false",
        help="queue each new flow: the kernel repeats no decision by itself",
    )
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the daemon; return its exit status."""
    import_asyncio()
    from nfsnitch import daemon  # noqa: PLC0415  it imports asyncio in the ordinary way

    run_options = RunOptions(
        rules=rules_of(options),
        cgroup=options.cgroup,
        attach=options.attach,
        loader=options.bpf,
        queue_num=options.queue,
        records=options.records,
        forward=options.forward,
        socket=options.socket,
        state=options.state,
        group=options.group,
        answer_group=options.answer_group,
        answers=options.answers,
        cache=options.cache,
    )
    return daemon.run(run_options)


def _attach_mode(text: str) -> AttachMode:
    if text not in list(AttachMode):
        reason = f"no such attach mode; choose one of {', '.join(AttachMode)}"
        raise argparse.ArgumentTypeError(f"{quoted(text)}: {reason}")
    return AttachMode(text)


def _loader(text: str) -> Loader:
    if text not in list(Loader):
        reason = f"no such loader; choose one of {', '.join(Loader)}"
        raise argparse.ArgumentTypeError(f"{quoted(text)}: {reason}")
    return Loader(text)
