"""Ways in which one process opens a socket, and another one sends."""

from __future__ import annotations

from typing import Final

from nfsnitch.core.attach import AttachMode
from nfsnitch.lab.programs import build_program
from nfsnitch.lab.world import SERVER
from ways.sockets import by, words
from ways.stage import COUNT, PORT, Opener, Place, Sent, Stage, Way, truths_of

_SERVICE_PORT = 5_000
_ONE_SENT_ANOTHER_CONNECTED: Final = {
    AttachMode.CGROUP: "connected by one process, sent on by another with `send()`: no hook of a "
    "cgroup is run then, so the one that connected it is named"
}


def _handed(title: str, how: str, kind: str) -> Way:
    def send(stage: Stage, place: Place) -> Sent:
        opener = stage.world.own_copy(build_program("hand"), "opener")
        sender = stage.copy("sender")
        argv = [opener, how, kind, place.ipv4, str(COUNT), str(PORT), sender]
        child = stage.world.spawn([str(word) for word in argv])
        truths = truths_of(child.finish(60))
        assert {truth.exe for truth in truths} == {str(sender)}
        return Sent(truths, opener=Opener(child.pid, str(opener)))

    blind = _ONE_SENT_ANOTHER_CONNECTED if kind == "early" else {}
    return Way(f"{how}-{kind}", title, send, blind=blind)


def _forked(title: str, how: str) -> Way:
    def send(stage: Stage, place: Place) -> Sent:
        own = stage.copy()
        child = stage.world.spawn([str(own), *words(how, place, "--fork")])
        truths = truths_of(child.finish(60))
        assert child.pid not in {truth.pid for truth in truths}
        return Sent(truths, opener=Opener(child.pid, str(own)))

    blind = _ONE_SENT_ANOTHER_CONNECTED if how == "udp-early" else {}
    return Way(f"fork-{how}", title, send, blind=blind)


def _threads(stage: Stage, place: Place) -> Sent:
    sent = by("udp-sendto", "--threads")(stage, place)
    assert len({truth.pid for truth in sent.truths}) == 1
    return sent._replace(by_thread=True)


def _orphan(stage: Stage, place: Place) -> Sent:
    return Sent(stage.run([stage.copy(), *words("udp-sendto", place, "--orphan")]))


_TRIGGER = "import socket; socket.socket(2, 2).sendto(b'!', ('192.0.2.2', {port}))"


def _activated(stage: Stage, place: Place) -> Sent:
    """Have a service started by its first packet; it sends by the socket that it was given.

    The real systemd-socket-activate stands for systemd: it makes the socket, waits, and becomes
    the service; see sd_listen_fds(3).
    """
    service = stage.copy("service")
    manager = "/usr/bin/systemd-socket-activate"
    argv = [manager, "--datagram", f"--listen=192.0.2.2:{_SERVICE_PORT}", str(service)]
    # One socket for all destinations: each is a flow of its own.
    argv += ["--take", "same:3", "udp-sendto", place.ipv4, str(COUNT), str(PORT)]
    child = stage.world.spawn(argv)
    child.wait_for_line(child.stderr, lambda line: line.startswith("Listening on"), 30)
    trigger = ["python3", "-I", "-S", "-c", _TRIGGER.format(port=_SERVICE_PORT)]
    assert stage.world.run(trigger, netns=SERVER).returncode == 0
    return Sent(truths_of(child.finish(60)), opener=Opener(child.pid, manager))


WAYS = (
    _forked("UDP socket inherited over `fork()`", "udp-sendto"),
    _forked("connected UDP socket inherited over `fork()`", "udp-early"),
    _forked("TCP socket inherited over `fork()`", "tcp"),
    _handed("UDP socket inherited over `exec()`", "exec", "udp"),
    _handed("connected UDP socket inherited over `exec()`", "exec", "early"),
    _handed("TCP socket inherited over `exec()`", "exec", "tcp"),
    _handed("UDP socket passed by `SCM_RIGHTS`", "rights", "udp"),
    _handed("connected UDP socket passed by `SCM_RIGHTS`", "rights", "early"),
    _handed("TCP socket passed by `SCM_RIGHTS`", "rights", "tcp"),
    _handed("UDP socket fetched by `pidfd_getfd()`", "pidfd", "udp"),
    _handed("TCP socket fetched by `pidfd_getfd()`", "pidfd", "tcp"),
    Way("activated", "socket activation as by systemd", _activated),
    Way("threads", "each socket used by another thread", _threads),
    Way("orphan", "sender whose parent has ended", _orphan),
)
