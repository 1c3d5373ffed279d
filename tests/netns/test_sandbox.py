"""The daemon in the surroundings that a service manager gives it."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from builders import WriteRules
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.services import ECHO_PORT, Services
from nfsnitch.lab.world import World
from units import confined

needs_units = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze"
)
pytestmark = [pytest.mark.root, pytest.mark.netns, pytest.mark.bpf]

CONNECT = f"""
import socket
try:
    socket.create_connection(("192.0.2.1", {ECHO_PORT}), 2).close()
    print("CONNECTED")
except OSError as problem:
    print(problem)
"""
# The first process of a pid namespace stays among everybody's mounts, as the machine's does. The
# daemon below it has its own mounts: another /proc, and another folder where the programs are.
FIRST = 'unshare --mount -- sh -c "$0" sh "$@" & wait $!; exit $?'
HIDES = 'mount -t proc none /proc && mount -t tmpfs none {hidden} && exec "$@"'


def hidden_from_the_daemon(folder: Path, argv: tuple[str, ...]) -> tuple[str, ...]:
    """Return the command line of a daemon to which *folder* is empty, and to nobody else."""
    return (
        *("unshare", "--pid", "--fork", "--kill-child", "--", "sh", "-c", FIRST),
        *(HIDES.format(hidden=folder), *argv),
    )


def test_programs_that_are_hidden_from_the_daemon_are_recognised_by_what_they_are_to_others(
    world: World, services: Services, rules: WriteRules, tmp_path: Path
) -> None:
    assert services.echo.pid
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    good, other = (world.own_copy("python3", name) for name in ("good", "other"))
    good, other = (each.rename(hidden / each.name) for each in (good, other))
    path = rules(f"default: deny\nrules: [{{name: good, action: allow, exe: {good}}}]\n")
    firewall = Firewall(world, [path])
    firewall.argv = hidden_from_the_daemon(hidden, firewall.argv)
    with firewall:
        done = {
            program: world.run([str(program), "-I", "-S", "-c", CONNECT])
            for program in (good, other)
        }
        records = {
            program: firewall.wait_for_record(having(pid=child.pid))
            for program, child in done.items()
        }

        # The outer process takes no other; the kernel ends the rest with it.
        firewall.child.stop(signal.SIGKILL)

    assert done[good].stdout == "CONNECTED\n", done[good].stderr
    assert [(records[each]["exe"], records[each]["rule"]) for each in (good, other)] == [
        (str(good), "good"),
        (str(other), None),
    ]


@needs_units
@pytest.mark.vm_guest(modes=("lsm",))  # for kprobes, Debian wants more than the unit has
@pytest.mark.usefixtures("services")
def test_the_limits_of_its_unit_on_memory_capabilities_and_system_calls_are_never_met(
    world: World, rules: WriteRules
) -> None:
    firewall = Firewall(world, [rules("default: deny\nrules: [{name: all, action: allow}]\n")])
    firewall.argv = confined("nfsnitch.service", firewall.argv)
    with firewall:
        done = world.run(["python3", "-I", "-S", "-c", CONNECT])
        record = firewall.wait_for_record(having(pid=done.pid))
        stopped = firewall.stop()

    assert (done.stdout, record["verdict"]) == ("CONNECTED\n", "accept")
    assert stopped.returncode == 0, stopped.stderr
    assert world.run(["nft", "list", "ruleset"]).stdout == ""
