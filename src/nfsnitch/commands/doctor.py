"""``nfsnitch doctor``: what this machine can do, what will be used, and how to get more."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TextIO

from nfsnitch.adapters import surroundings
from nfsnitch.adapters.answer import Answer, State
from nfsnitch.adapters.asking import ask
from nfsnitch.commands.common_options import add_rules, rules_of
from nfsnitch.core.text import shown


class Check(NamedTuple):
    """One line of the table."""

    name: str
    means: str
    """What it is good for."""
    more: str = ""
    """How to get it, where the answer itself does not say."""


class Result(NamedTuple):
    """A check and its answer."""

    check: Check
    answer: Answer

    def as_json(self) -> dict[str, str]:
        """Return it as one object."""
        return {
            "name": self.check.name,
            "state": self.answer.state,
            "detail": self.answer.detail,
            "means": self.check.means,
            "more": self.more,
        }

    @property
    def more(self) -> str:
        """Return what to do to get more; empty where all is well."""
        if self.answer.state is State.OK:
            return ""
        return self.answer.more or self.check.more


class Verdict(NamedTuple):
    """What it comes to."""

    works: bool | None
    """None: that cannot be told without root."""
    attach: str | None
    queueing: str | None
    missing: list[str]
    """The checks without which nothing works."""
    loader: str | None = None
    """What ``--bpf auto`` takes."""


_KERNEL_MODULES = "load its module, or use a kernel that has it (CONFIG_{})"
TRIED = (
    Check("netns-cookie", "sockets are told apart by network namespace", "Linux 5.14 or later"),
    Check(
        "attach-lsm",
        "owners are recorded by security hooks, packets by a probe on the queue",
        "put bpf into the kernel's list of security modules (boot parameter lsm=)",
    ),
    Check(
        "attach-kprobe",
        "owners are recorded by kernel probes, packets by a probe on the queue",
        "use a kernel that has CONFIG_KPROBES",
    ),
    Check(
        "attach-cgroup",
        "owners are recorded by cgroup hooks; a UDP socket that is passed on counts as that of the "
        "program that connected it",
        "mount cgroup v2, or use a kernel that has CONFIG_CGROUP_BPF",
    ),
    Check(
        "packet-refusal",
        "rules can refuse sockets past netfilter; else these are recorded alone",
        "it takes attach mode lsm",
    ),
    Check(
        "names-dns",
        "names are known by which programs have asked DNS for an address",
        "mount cgroup v2, or use a kernel that has CONFIG_CGROUP_BPF",
    ),
    Check(
        "names-libc",
        "names are known that programs have asked the C library for, wherever it found them",
        "use a kernel that has CONFIG_UPROBE_EVENTS, and start with CAP_SYS_ADMIN",
    ),
    Check("nft-queue", "nft itself hands packets over", _KERNEL_MODULES.format("NFT_QUEUE")),
    Check(
        "xtables-queue",
        "a target of iptables in nft's rules does it instead",
        _KERNEL_MODULES.format("NFT_COMPAT, CONFIG_NETFILTER_XT_TARGET_NFQUEUE"),
    ),
    Check(
        "packet-match",
        "the kernel repeats decisions by itself",
        _KERNEL_MODULES.format("NFT_COMPAT, CONFIG_NETFILTER_XT_MATCH_BPF"),
    ),
    Check(
        "nfqueue",
        "packets wait in the kernel for their verdict",
        _KERNEL_MODULES.format("NETFILTER_NETLINK_QUEUE"),
    ),
    Check(
        "conntrack-label",
        "a flow that was accepted passes in the kernel",
        _KERNEL_MODULES.format("NF_CT_NETLINK, CONFIG_NF_CONNTRACK_LABELS"),
    ),
    Check(
        "sock-diag",
        "sockets that are older than the daemon are found",
        _KERNEL_MODULES.format("INET_UDP_DIAG"),
    ),
    Check(
        "raw-sock-diag",
        "raw sockets are found by the kernel, not by a walk through /proc",
        _KERNEL_MODULES.format("INET_RAW_DIAG"),
    ),
    Check(
        "sock-destroy",
        "connections can be cut",
        _KERNEL_MODULES.format("INET_DIAG_DESTROY"),
    ),
)
"""What is tried in a network namespace of its own, in the order of the table."""

_ATTACH = ("attach-lsm", "attach-kprobe", "attach-cgroup")
_QUEUEING = ("nft-queue", "xtables-queue")
_LOADERS = {"btf": "core", "bcc": "bcc"}
ESSENTIAL = (
    ("privileges",),
    ("btf", "bcc"),
    ("libbpf",),
    ("python-packages",),
    ("netns-cookie",),
    _ATTACH,
    _QUEUEING,
    ("nfqueue",),
    ("conntrack-label",),
    ("sock-diag",),
)
"""One of each group has to be there; the best comes first."""

_COLOURS = {State.OK: "32", State.LIMITED: "33", State.MISSING: "31", State.UNKNOWN: "35"}
_NAME_COLUMNS, _STATE_COLUMNS = 18, 9
_MOST_COLUMNS = 110


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say what the command line understands."""
    parser.description = "Say what this machine can do, what will be used, and how to get more."
    add_rules(parser)
    parser.add_argument("--json", action="store_true", help="the same as JSON")
    parser.set_defaults(command=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    return doctor(rules_of(options), sys.stdout, as_json=options.json)


def doctor(rules: Sequence[Path], out: TextIO, *, as_json: bool) -> int:
    """Try everything and tell; return 1 if nothing can work here, else 0."""
    results = examine(tuple(rules))
    verdict = judge({result.check.name: result.answer.state for result in results})
    if as_json:
        checks = [result.as_json() for result in results]
        out.write(json.dumps({**verdict._asdict(), "checks": checks}, indent=2) + "\n")
    else:
        _write_table(results, verdict, out)
    return 1 if verdict.works is False else 0


def examine(rules: tuple[Path, ...]) -> list[Result]:
    """Return the answers to all checks."""
    looked = [Result(check, look()) for check, look in _looks(rules)]
    answers = ask()
    tried = [
        Result(check, answers.by_name.get(check.name, Answer(State.UNKNOWN, answers.problem)))
        for check in TRIED
    ]
    return [*looked, *tried]


def judge(states: Mapping[str, State]) -> Verdict:
    """Return whether nfsnitch can work, and with what."""
    missing, in_doubt = [], False
    for group in ESSENTIAL:
        found = {states.get(name, State.MISSING) for name in group}
        if found <= {State.MISSING}:
            missing += [name for name in group if name in states]
        elif not found & {State.OK, State.LIMITED}:
            in_doubt = True
    attach, queueing = (_first_ok(states, group) for group in (_ATTACH, _QUEUEING))
    works = False if missing else None if in_doubt else True
    loader = _first_ok(states, tuple(_LOADERS))
    return Verdict(works, attach, queueing, missing, _LOADERS[loader] if loader else None)


def _first_ok(states: Mapping[str, State], names: Sequence[str]) -> str | None:
    for name in names:
        if states.get(name) is State.OK:
            return name.removeprefix("attach-").removesuffix("-queue")
    return None


def _looks(rules: tuple[Path, ...]) -> list[tuple[Check, Callable[[], Answer]]]:
    here = surroundings
    return [
        (Check("kernel", "everything depends on it"), here.kernel),
        (Check("privileges", "what may be tried and seen at all"), here.capabilities),
        (Check("namespaces", "a firewall sees the namespace it is in"), here.namespaces),
        (Check("btf", "eBPF programs are fitted to the kernel (--bpf core)"), here.btf),
        (Check("bcc", "eBPF programs are compiled for the kernel (--bpf bcc)"), here.bcc),
        (Check("cgroup-v2", "cgroup hooks, and the cgroup of a program"), here.cgroup_v2),
        (Check("socket-kinds", "ways out that this kernel has"), here.socket_kinds),
        (Check("lsm-list", "security hooks for eBPF"), here.lsm_list),
        (Check("kprobes", "kernel probes for eBPF"), here.kprobes),
        (
            Check("unprivileged-bpf", "whether anybody may load eBPF programs"),
            here.unprivileged_bpf,
        ),
        (Check("libbpf", "loads the eBPF programs"), here.libbpf),
        (Check("nftables", "the ruleset"), here.nft_version),
        (Check("python-packages", "the daemon is made with them"), here.python_packages),
        (Check("service-manager", "starts the daemon at boot"), here.service_manager),
        (Check("rules", "what run would enforce"), partial(here.rules, rules)),
        (Check("daemon", "who enforces now"), here.running),
        (Check("pins", "owners are known still after a restart or a crash"), here.pins),
        (Check("others", "rules and queues of others that come behind ours"), here.other_rules),
        (Check("packet-sockets", "AF_PACKET bypasses netfilter and us"), here.packet_sockets),
        (Check("xdp-sockets", "AF_XDP bypasses netfilter and us"), here.xdp_sockets),
    ]


def _write_table(results: Sequence[Result], verdict: Verdict, out: TextIO) -> None:
    coloured = out.isatty() and "NO_COLOR" not in os.environ
    columns = shutil.get_terminal_size().columns if out.isatty() else _MOST_COLUMNS
    margin = " " * (_STATE_COLUMNS + _NAME_COLUMNS)
    wrapped = partial(
        textwrap.fill, width=max(60, min(columns, _MOST_COLUMNS)), subsequent_indent=margin
    )
    for check, answer in results:
        state = answer.state.ljust(_STATE_COLUMNS)
        text = f"{check.means}: {shown(answer.detail)}"
        line = wrapped(f"{state}{check.name.ljust(_NAME_COLUMNS)}{text}")
        if coloured:
            line = f"\x1b[{_COLOURS[answer.state]}m{state}\x1b[0m{line[_STATE_COLUMNS:]}"
        out.write(line + "\n")
        more = Result(check, answer).more
        if more:
            out.write(wrapped(f"{margin}to get more: {shown(more)}") + "\n")
    out.write("\n" + wrapped(_said(verdict), subsequent_indent="") + "\n")


def _said(verdict: Verdict) -> str:
    if verdict.works is None:
        return "Whether nfsnitch works here, root alone can try: sudo nfsnitch doctor"
    if not verdict.works:
        return f"nfsnitch cannot work here: see {', '.join(verdict.missing)}."
    return (
        f"nfsnitch works here: eBPF loader {verdict.loader}, owners by attach mode "
        f"{verdict.attach}, packets queued by {verdict.queueing}."
    )
