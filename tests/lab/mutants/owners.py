"""Faults in whose a packet is."""

from __future__ import annotations

from dataclasses import replace

from lab.mutants.mutant import Function, around, mutant
from nfsnitch import worker
from nfsnitch.adapters.attribution import Attributor
from nfsnitch.adapters.socket_holders import SocketHolders
from nfsnitch.core.commands import WriteRecord
from nfsnitch.core.flow import Flow
from nfsnitch.core.name import NOT_LOOKED_UP
from nfsnitch.core.owner import Attribution, Finding, Process
from nfsnitch.core.recording import Recording
from nfsnitch.core.unknown import Unknown

_NOBODY = Unknown("nobody was looked for")


def _found(change: Function) -> None:
    """Have *change* make another finding of each."""

    def find(real: Function, attributor: Attributor, flow: Flow) -> Finding:
        finding: Finding = change(real(attributor, flow))
        return finding

    around(Attributor, "find", find)


@mutant(
    "owner-of-before",
    "a flow is held for that of whoever sent before",
    "tcp/two-programs",
    "udp/port-reuse",
)
def _owner_of_before() -> None:
    last: list[Finding] = []

    def before(found: Finding) -> Finding:
        last.append(found)
        return last[-2] if len(last) > 1 else found

    _found(before)


@mutant(
    "owner-swapped-in-records",
    "a record names the owner of the flow before",
    "tcp/two-programs",
    "udp/wireguard-like",
)
def _owner_swapped_in_records() -> None:
    last: list[Finding] = []

    def of(
        real: Function,
        recording: Recording,
        now: object,
        decision: object,
        flow: object,
        found: Finding,
        *args: object,
        **kwargs: object,
    ) -> WriteRecord:
        last.append(found)
        before = last[-2] if len(last) > 1 else found
        written: WriteRecord = real(recording, now, decision, flow, before, *args, **kwargs)
        return written

    around(Recording, "of", of)


@mutant("owner-unknown", "nobody's packets are known to be theirs", "tcp/two-programs")
def _owner_unknown() -> None:
    _found(lambda _found: Finding(_NOBODY, Attribution.NONE, _NOBODY))


@mutant("raw-unknown", "what raw sockets send is nobody's", "tcp/ack-without-syn")
def _raw_unknown() -> None:
    around(Attributor, "_cookie_of_raw", lambda _real, _attributor, _flow: None)
    nobody = Finding(_NOBODY, Attribution.NONE, _NOBODY)
    around(SocketHolders, "find", lambda _real, _holders, _flow, _entry: nobody)


@mutant(
    "tuple-is-its-first-owners",
    "a tuple stays the first program's that had it",
    "udp/port-reuse",
    "tcp/port-reuse",
)
def _tuple_is_its_first_owners() -> None:
    first: dict[Flow, Finding] = {}

    def find(real: Function, attributor: Attributor, flow: Flow) -> Finding:
        return first.setdefault(flow, real(attributor, flow))

    around(Attributor, "find", find)


@mutant("parents-forgotten", "it is not known who started a program", "asking/parent")
def _parents_forgotten() -> None:
    _of_process(lambda process: replace(process, parents=()))


@mutant("cgroup-forgotten", "the cgroup of a program is not known", "asking/cgroup")
def _cgroup_forgotten() -> None:
    _of_process(lambda process: replace(process, cgroup=_NOBODY))


@mutant("everybody-is-root", "each program is held for root's", "asking/another-user")
def _everybody_is_root() -> None:
    _of_process(lambda process: replace(process, uid=0, gid=0))


def _of_process(change: Function) -> None:
    def found(finding: Finding) -> Finding:
        owner = finding.owner
        return finding._replace(owner=change(owner)) if isinstance(owner, Process) else finding

    _found(found)


@mutant(
    "names-of-nobody",
    "no name of an address is known when a flow is judged",
    "names/two-names-one-denied",
    "names/list-of-domains",
)
def _names_of_nobody() -> None:
    def known(real: Function, by: worker.Worker, flow: Flow, found: Finding) -> Finding:
        done: Finding = real(by, flow, found)
        return done._replace(names=NOT_LOOKED_UP, names_of_rivals=())

    around(worker.Worker, "_known", known)
