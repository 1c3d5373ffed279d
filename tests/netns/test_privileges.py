"""What the daemon may still do to the machine once it runs, and what it has to be started with."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from attach_mode import by_probe_or, present_mode
from builders import WriteRules
from nfsnitch.adapters import privileges
from nfsnitch.adapters.privileges import AT_START, KEPT, Capability
from nfsnitch.core.attach import AttachMode
from nfsnitch.core.record import Json
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.process import EndedError
from nfsnitch.lab.programs import build_program
from nfsnitch.lab.services import ECHO_PORT, Services
from nfsnitch.lab.world import World

pytestmark = [pytest.mark.root, pytest.mark.netns, pytest.mark.bpf]

ALLOW = "default: deny\nrules: [{name: everything, action: allow}]\n"


def with_only(names: set[Capability], argv: tuple[str, ...]) -> tuple[str, ...]:
    """Return the command line of a program that root starts with these capabilities alone."""
    wanted = ",".join(["-all", *(f"+{each.name.removeprefix('CAP_').lower()}" for each in names)])
    return ("setpriv", f"--bounding-set={wanted}", *argv)


def status_of(pid: int) -> dict[str, str]:
    """Return the fields of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def held(status: dict[str, str], name: str) -> set[int]:
    """Return the numbers of the capabilities in one set."""
    return {number for number in range(64) if int(status[name], 16) >> number & 1}


def one_connection(world: World, firewall: Firewall) -> Json:
    """Make a connection, and return what the daemon recorded of it."""
    done = world.run([str(build_program("one_connect")), "192.0.2.1", str(ECHO_PORT)])
    return firewall.wait_for_record(having(pid=done.pid))


def test_a_running_daemon_has_what_the_documentation_says_and_nothing_else(
    world: World, rules: WriteRules
) -> None:
    with Firewall(world, [rules(ALLOW)]) as firewall:
        folder = Path(f"/proc/{firewall.child.pid}/task")
        statuses = [status_of(int(task.name)) for task in folder.iterdir()]
        owner = Path(f"/proc/{firewall.child.pid}/environ").stat()

    assert statuses
    for status in statuses:
        assert held(status, "CapPrm") == held(status, "CapEff") == set(KEPT)
        assert held(status, "CapInh") <= {Capability.CAP_NET_ADMIN}
        assert held(status, "CapBnd") == held(status, "CapAmb") == set()
        assert status["NoNewPrivs"] == "1"
    assert owner.st_uid == 0


def start_with_the_least(firewall: Firewall) -> None:
    """Start it with the documented capabilities, and one more only if its probes ask for that."""
    argv = firewall.argv
    firewall.argv = with_only(set(AT_START), argv)
    try:
        firewall.start()
    except EndedError as refusal:
        asked = "perf_event_paranoid = 3: set it to 2, or start with CAP_SYS_ADMIN" in str(refusal)
        if present_mode() is not AttachMode.KPROBE or not asked:
            raise
        firewall.argv = with_only({*AT_START, Capability.CAP_SYS_ADMIN}, argv)
        firewall.start()


@pytest.mark.vm_guest(modes=("lsm", "kprobe"))
@pytest.mark.usefixtures("services")
def test_it_starts_works_and_stops_with_the_documented_capabilities_alone(
    world: World, rules: WriteRules
) -> None:
    firewall = Firewall(world, [rules(ALLOW)])
    with ExitStack() as stack:
        stack.push(firewall)
        start_with_the_least(firewall)
        began = status_of(firewall.child.pid)
        record = one_connection(world, firewall)
        stopped = firewall.stop()

    assert held(began, "CapEff") == set(KEPT)
    assert held(began, "CapBnd") == set()
    assert (record["verdict"], record["attribution"]) == ("accept", by_probe_or("flow-map"))
    assert stopped.returncode == 0, stopped.stderr
    assert world.run(["nft", "list", "ruleset"]).stdout == ""


@pytest.mark.parametrize("lacking", sorted(AT_START), ids=lambda each: each.name)
def test_a_start_without_a_capability_it_needs_names_it_and_leaves_no_rule(
    world: World, rules: WriteRules, lacking: Capability
) -> None:
    firewall = Firewall(world, [rules(ALLOW)])
    firewall.argv = with_only(set(AT_START) - {lacking}, firewall.argv)
    with pytest.raises(EndedError) as failed:
        firewall.start()

    assert f"cannot run: it lacks {lacking.name}; " in str(failed.value)
    assert world.run(["nft", "list", "ruleset"]).stdout == ""


def test_the_program_of_another_user_in_a_folder_closed_to_others_is_still_recognised(
    world: World, services: Services, rules: WriteRules
) -> None:
    assert services.echo.pid
    good = world.own_copy("python3", "good")
    good.parent.chmod(0o700)
    os.chown(good.parent, 1234, 1234)
    script = (
        "import socket, sys\n"
        "sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        f"sock.connect(('192.0.2.1', {ECHO_PORT}))\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
        "sock.send(b'x')\n"
    )
    read_fd, write_fd = os.pipe()
    # A socket that is older than the daemon: /proc alone can tell whose it is.
    sender = world.spawn(
        [str(good), "-I", "-S", "-c", script + "import time; time.sleep(60)\n"],
        uid=1234,
        fds={0: read_fd},
    )
    os.close(read_fd)
    sender.wait_for_line(sender.stdout, lambda line: line == "ready", 10)
    with Firewall(world, [rules(ALLOW)]) as firewall:
        os.close(write_fd)
        record = firewall.wait_for_record(having(pid=sender.pid))

    assert (record["exe"], record["uid"]) == (str(good), 1234)


REDUCES = """
import os, subprocess, sys, threading
from nfsnitch.adapters import privileges
if sys.argv[1] == "threads":
    threading.Thread(target=threading.Event().wait, daemon=True).start()
try:
    privileges.reduce()
except privileges.PrivilegesError as problem:
    sys.exit(str(problem))
print(open("/proc/self/status").read())
sys.stdout.flush()
subprocess.run(["cat", "/proc/self/status"])
"""


def reduced(how: str, *, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Give up privileges in a process of its own; it prints its status and its child's."""
    folder = str(Path(privileges.__file__).parents[2])
    return subprocess.run(
        [*before, sys.executable, "-c", REDUCES, how],
        env={**os.environ, "PYTHONPATH": folder},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_what_is_run_afterwards_gets_nothing() -> None:
    done = reduced("alone")
    statuses = done.stdout.split("Name:")[1:]
    child = dict(line.partition(":")[::2] for line in statuses[1].splitlines())

    assert done.returncode == 0, done.stderr
    for name in ("CapPrm", "CapEff"):
        assert held(child, name) == set()
    assert held(child, "CapBnd") == set()


def test_with_threads_it_is_too_late_to_give_up_privileges() -> None:
    done = reduced("threads")

    assert (done.returncode, done.stderr) == (
        1,
        "privileges must be given up before threads are started\n",
    )


def test_what_is_missing_to_go_on_is_named() -> None:
    names = {Capability.CAP_SETPCAP, Capability.CAP_NET_ADMIN, Capability.CAP_DAC_READ_SEARCH}
    done = reduced("none", before=with_only(names, ()))

    assert (done.returncode, done.stderr) == (
        1,
        "CAP_SYS_PTRACE is missing: it is needed to go on\n",
    )
