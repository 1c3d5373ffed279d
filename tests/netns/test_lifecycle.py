"""Start, stop, a second instance, a crash: what is in force when."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path

import pytest

from builders import WriteRules
from daemon_counters import counted
from nfsnitch.core.counters import Counter
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.process import EndedError
from nfsnitch.lab.programs import build_program
from nfsnitch.lab.services import ECHO_PORT, Services
from nfsnitch.lab.world import World

pytestmark = [pytest.mark.root, pytest.mark.netns, pytest.mark.bpf]

DENY = "default: deny\nrules: [{name: everything, action: deny}]\n"
ALLOW = "default: deny\nrules: [{name: everything, action: allow}]\n"


def ruleset(world: World) -> str:
    """Return what nft lists in the client's namespace."""
    done = world.run(["nft", "list", "ruleset"])
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_clean_stop_removes_every_rule(
    world: World, rules: WriteRules, number: signal.Signals
) -> None:
    before = ruleset(world)
    with Firewall(world, [rules(DENY)]) as firewall:
        meanwhile = ruleset(world)
        stopped = firewall.stop(number)

    assert stopped.returncode == 0, stopped.stderr
    assert "table inet nfsnitch" in meanwhile
    assert ruleset(world) == before == ""


def test_ready_is_the_first_line_and_rules_are_in_force_by_then(
    world: World, rules: WriteRules
) -> None:
    with Firewall(world, [rules(DENY)], extra=["--records", "-"]) as firewall:
        first = firewall.child.stdout.lines()[0]
        listed = ruleset(world)

    assert first == "ready"
    assert "table inet nfsnitch" in listed


def test_a_second_instance_in_the_same_namespace_is_refused_by_name(
    world: World, rules: WriteRules
) -> None:
    with Firewall(world, [rules(DENY)]) as firewall:
        second = Firewall(world, [rules(DENY)], queue_num=8000)
        with pytest.raises(EndedError) as refused:
            second.start()
        still_there = ruleset(world)

    assert f"already runs in network namespace net:[{world.netns_inode('client')}]" in (
        str(refused.value)
    )
    assert f"process {firewall.child.pid}" in str(refused.value)
    assert "table inet nfsnitch" in still_there


def test_two_namespaces_have_an_instance_each(rules: WriteRules) -> None:
    path = rules(DENY)
    with World() as one, World() as other, Firewall(one, [path]), Firewall(other, [path]):
        assert "table inet nfsnitch" in ruleset(one)
        assert "table inet nfsnitch" in ruleset(other)


@pytest.mark.vm_guest(modes=("lsm",))
def test_after_a_crash_nothing_new_leaves_and_the_next_start_takes_over(
    world: World, services: Services, rules: WriteRules
) -> None:
    connect = [str(build_program("one_connect")), "192.0.2.1", str(ECHO_PORT)]
    crashed = Firewall(world, [rules(ALLOW)], queue_num=8000)
    crashed.start()
    crashed.child.stop(signal.SIGKILL)

    script = f"import socket\nsocket.create_connection(('192.0.2.1', {ECHO_PORT}), 0.5)\n"
    blocked = world.run(["python3", "-I", "-S", "-c", script])
    arrived_between = services.arrived("tcp")
    with Firewall(world, [rules(ALLOW)]) as firewall:
        again = world.run(connect)
        firewall.wait_for_record(having(pid=again.pid))
        stopped = firewall.stop()

    assert "TimeoutError" in blocked.stderr
    assert arrived_between == []
    assert "Connection" not in again.stderr
    assert counted(stopped)[Counter.ACCEPTED] >= 1
    assert ruleset(world) == ""


def test_a_service_manager_hears_of_readiness_and_of_the_stop(
    world: World, rules: WriteRules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = tmp_path / "notify"
    argv_rules = rules(DENY)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.settimeout(10)
        argv = [sys.executable, "-m", "nfsnitch.cli", "run", "--rules", str(argv_rules)]
        monkeypatch.setenv("NOTIFY_SOCKET", str(address))
        child = world.spawn(
            [*argv, "--cgroup", str(world.apps)],
            cgroup=world.infra,
            env={"NOTIFY_SOCKET": str(address), "PYTHONPATH": ":".join(filter(None, sys.path))},
        )
        first = manager.recv(100)
        child.send(signal.SIGTERM)
        second = manager.recv(100)
        child.wait(10)

    assert (first, second) == (b"READY=1", b"STOPPING=1")


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        (("--cgroup", "/nonexistent"), "cgroup"),
        (("--rules", "/nonexistent.yaml"), "/nonexistent.yaml"),
    ],
)
def test_a_start_that_fails_says_why_and_leaves_no_rule(
    world: World, rules: WriteRules, argument: tuple[str, str], expected: str
) -> None:
    firewall = Firewall(world, [rules(DENY)], extra=argument)
    with pytest.raises(EndedError) as failed:
        firewall.start()

    assert "nfsnitch: cannot run:" in str(failed.value)
    assert expected in str(failed.value)
    assert "Traceback" not in str(failed.value)
    assert ruleset(world) == ""


def test_records_on_standard_output_follow_the_line_ready(
    world: World, services: Services, rules: WriteRules
) -> None:
    assert services.echo.pid
    with Firewall(world, [rules(ALLOW)], extra=["--records", "-"]) as firewall:
        done = world.run([str(build_program("one_connect")), "192.0.2.1", str(ECHO_PORT)])
        child = firewall.child
        line = child.wait_for_line(child.stdout, lambda text: f'"pid":{done.pid},' in text, 10)

    assert '"verdict":"accept"' in line
