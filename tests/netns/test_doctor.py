"""The doctor tells the truth: what it says works does, and what it says does not, does not."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from attach_mode import by_probe_or
from builders import WriteRules
from nfsnitch.adapters import cgroups
from nfsnitch.adapters.asking import ask, own_cgroup
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.process import EndedError, same_modules
from nfsnitch.lab.programs import build_program
from nfsnitch.lab.services import ECHO_PORT, Services
from nfsnitch.lab.world import PROGRAM_ENV, World

pytestmark = [pytest.mark.root, pytest.mark.netns, pytest.mark.bpf]

ALLOW = "default: deny\nrules: [{name: everything, action: allow}]\n"
DOCTOR = (sys.executable, "-m", "nfsnitch.cli", "doctor", "--json")


def diagnosis(world: World, *before: str, rules: Path | None = None) -> dict[str, Any]:
    """Return what the doctor says in the client's namespace."""
    argv = [*before, *DOCTOR, *(("--rules", str(rules)) if rules else ())]
    done = world.spawn(argv, env=same_modules(), cgroup=world.infra).finish(180)
    assert done.stdout, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (1 if said["works"] is False else 0)
    said["checks"] = {each["name"]: each for each in said["checks"]}
    return said


@pytest.mark.vm_guest(modes=("lsm",))
def test_it_says_that_it_works_with_the_queueing_that_then_works(
    world: World, services: Services, rules: WriteRules
) -> None:
    assert services.echo.pid
    path = rules(ALLOW)
    said = diagnosis(world, rules=path)
    states = {name: each["state"] for name, each in said["checks"].items()}
    with Firewall(world, [path]) as firewall:
        listed = world.run(["nft", "list", "table", "inet", "nfsnitch"]).stdout
        done = world.run([str(build_program("one_connect")), "192.0.2.1", str(ECHO_PORT)])
        record = firewall.wait_for_record(having(pid=done.pid))

    assert said["works"] is True
    assert (said["queueing"] == "nft") == (states["nft-queue"] == "ok")
    assert (said["queueing"] == "xtables") == ("chain worker" in listed)
    assert (states["attach-cgroup"] == "ok") == (record["attribution"] == by_probe_or("flow-map"))
    assert record["owner"] == "process"
    assert (states["rules"], said["checks"]["rules"]["detail"]) == ("ok", "1 rule, default deny")


def test_without_what_it_takes_it_says_that_nothing_works_and_nothing_does(
    world: World, rules: WriteRules
) -> None:
    without = ("setpriv", "--bounding-set=-net_admin")
    said = diagnosis(world, *without)
    firewall = Firewall(world, [rules(ALLOW)])
    firewall.argv = (*without, *firewall.argv)
    with pytest.raises(EndedError):
        firewall.start()

    assert said["works"] is False
    assert {"privileges", "nft-queue", "nfqueue"} <= set(said["missing"])
    assert "CAP_NET_ADMIN" in said["checks"]["privileges"]["detail"]


def test_a_plain_user_gets_a_partial_answer_that_says_so(world: World) -> None:
    said = diagnosis(world, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    states = {name: each["state"] for name, each in said["checks"].items()}

    assert said["works"] is None
    assert states["btf"] == "ok"
    assert states["attach-cgroup"] == states["nft-queue"] == states["privileges"] == "unknown"
    assert said["checks"]["nft-queue"]["more"] == "run it as root"


def test_it_leaves_nothing_behind_and_does_not_touch_the_rules_that_are_there(
    world: World,
) -> None:
    world.run(["nft", "add table ip theirs { chain c { type filter hook output priority 160; }; }"])
    before = world.run(["nft", "list", "ruleset"]).stdout
    said = diagnosis(world)

    assert "theirs" in before
    assert world.run(["nft", "list", "ruleset"]).stdout == before
    assert said["checks"]["others"]["state"] == "limited"
    assert said["checks"]["others"]["detail"] == "ip theirs c (160)"


def test_it_names_who_holds_a_packet_socket(world: World) -> None:
    script = (
        "import socket, sys\n"
        "sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)\n"
        "print('ready', flush=True)\n"
        "__import__('time').sleep(60)\n"
    )
    sniffer = world.spawn(["python3", "-I", "-S", "-c", script])
    sniffer.wait_for_line(sniffer.stdout, lambda line: line == "ready", 10)
    found = diagnosis(world)["checks"]["packet-sockets"]

    assert found["state"] == "limited"
    assert f"({sniffer.pid})" in found["detail"]
    assert "python3" in found["detail"]


def test_it_says_whether_rules_can_refuse_packet_sockets_and_refuses_none_here(
    world: World,
) -> None:
    states = {name: each["state"] for name, each in diagnosis(world)["checks"].items()}
    script = "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)"
    sniffer = world.run(["python3", "-I", "-S", "-c", script])

    assert states["packet-refusal"] == ("ok" if states["attach-lsm"] == "ok" else "missing")
    assert sniffer.returncode == 0


def test_it_says_whether_names_can_be_seen(world: World) -> None:
    checks = diagnosis(world)["checks"]

    assert checks["names-dns"]["state"] == "ok"
    assert checks["names-dns"]["detail"] == "a question to a name server was seen"
    assert checks["names-libc"]["state"] == "ok"
    assert checks["names-libc"]["detail"] == "what the C library was asked was seen"


def test_it_names_the_daemon_that_runs(world: World, rules: WriteRules) -> None:
    before = diagnosis(world)["checks"]["daemon"]["detail"]
    with Firewall(world, [rules(ALLOW)]) as firewall:
        meanwhile = diagnosis(world)
        pid = firewall.child.pid

    assert before == "none in this network namespace"
    assert meanwhile["checks"]["daemon"]["detail"] == f"process {pid} in this network namespace"
    assert meanwhile["works"] is True


def test_a_kernel_that_does_not_answer_is_not_waited_for() -> None:
    answers = ask(timeout_s=0.01)

    assert answers.by_name == {}
    assert answers.problem == "the kernel did not answer within 0.01 s"


def test_a_cgroup_is_removed_with_all_who_are_left_in_it() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as left_over:
        cgroup = own_cgroup(left_over.pid)
        cgroup.mkdir()
        (cgroup / "cgroup.procs").write_text(str(left_over.pid), "ascii")
        cgroups.remove(cgroup)

    assert not cgroup.exists()
    assert left_over.returncode == -signal.SIGKILL


def test_the_table_has_no_colours_in_a_file_and_a_line_that_says_what_it_comes_to(
    world: World,
) -> None:
    done = world.spawn(
        [*DOCTOR[:-1]], env={**PROGRAM_ENV, **same_modules()}, cgroup=world.infra
    ).finish(180)

    assert "\x1b" not in done.stdout
    assert done.stdout.splitlines()[-1].startswith("nfsnitch works here: eBPF loader ")


def test_the_caller_stays_in_its_own_network_namespace() -> None:
    before = Path("/proc/thread-self/ns/net").stat().st_ino
    answers = ask()

    assert Path("/proc/thread-self/ns/net").stat().st_ino == before
    assert answers.by_name["conntrack-label"].state == "ok"
