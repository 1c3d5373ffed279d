"""Fields of rules that only real programs, cgroups and clocks can show to be right."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from builders import WriteRules
from nfsnitch.adapters.cgroups import v2_root
from nfsnitch.core.memory import TRUST_AFTER
from nfsnitch.core.record import Json
from nfsnitch.lab import cgroups
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.programs import build_program
from nfsnitch.lab.services import ECHO_PORT, SINK_PORT, Services
from nfsnitch.lab.world import World

pytestmark = [pytest.mark.root, pytest.mark.netns, pytest.mark.bpf]

SERVER = "192.0.2.1"
CONNECT = f"""
import socket
with socket.create_connection(("{SERVER}", {ECHO_PORT}), 5):
    pass
"""
# Goes on sending from one port until the kernel says no; prints how often it went well.
STREAM = f"""
import socket, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.bind(("", 5555))
    sock.connect(("{SERVER}", {SINK_PORT}))
    sent = 0
    try:
        while True:
            sock.send(b"x")
            sent += 1
            print(sent, flush=True)
            time.sleep(0.02)
    except OSError as refused:
        print("refused", type(refused).__name__, flush=True)
"""


@pytest.fixture(name="units")
def fixture_units(world: World) -> Iterator[Path]:
    """Make a slice at the top of the hierarchy, as the manager of the system does."""
    top = v2_root() / f"{world.run_name}.slice"
    yield cgroups.make(top)
    cgroups.remove(top)


def connected(world: World, firewall: Firewall, cgroup: Path | None = None) -> Json:
    """Connect from a cgroup, and return what was recorded of it."""
    done = world.run([str(build_program("one_connect")), SERVER, str(ECHO_PORT)], cgroup=cgroup)
    return firewall.wait_for_record(having(pid=done.pid))


@pytest.mark.usefixtures("services")
def test_scripts_of_one_interpreter_are_told_apart_by_what_it_was_given_to_run(
    world: World, rules: WriteRules
) -> None:
    for name in ("good.py", "other.py"):
        (world.folder / name).write_text(CONNECT, encoding="utf-8")
    path = rules(
        "default: reject\nunattributed: deny\nrules:\n"
        "  - {name: good, action: allow, exe: /usr/bin/python3*,"
        f" script: {world.folder}/good.py}}\n"
    )
    python = ["/usr/bin/python3", "-I", "-S"]
    with Firewall(world, [path]) as firewall:
        runs = {
            "relative": world.run([*python, "good.py"]),
            "absolute": world.run([*python, f"{world.folder}/good.py"]),
            "another": world.run([*python, "other.py"]),
            "no script": world.run([*python, "-c", CONNECT, f"{world.folder}/good.py"]),
        }
        records = {
            how: firewall.wait_for_record(having(pid=done.pid)) for how, done in runs.items()
        }

    assert {how: record["verdict"] for how, record in records.items()} == {
        "relative": "accept",
        "absolute": "accept",
        "another": "reject",
        "no script": "reject",
    }
    assert [runs[how].returncode for how in ("relative", "absolute")] == [0, 0]
    assert records["relative"]["script"] == f"{world.folder}/good.py"
    assert "script" not in records["no script"]


@pytest.mark.usefixtures("services")
def test_a_unit_is_the_managers_and_not_what_somebody_calls_his_own_cgroup(
    world: World, units: Path, rules: WriteRules
) -> None:
    path = rules(
        "default: reject\nunattributed: deny\nrules:\n"
        "  - {name: cron, action: allow, unit: cron.service}\n"
    )
    real = cgroups.make(units / "cron.service")
    delegated = cgroups.make(units / "user@1000.service" / "cron.service")
    with Firewall(world, [path], cgroup=units) as firewall:
        by_cron = connected(world, firewall, real)
        below_cron = connected(world, firewall, cgroups.make(real / "worker"))
        by_user = connected(world, firewall, delegated)

    assert (by_cron["verdict"], by_cron["unit"]) == ("accept", "cron.service")
    assert (below_cron["verdict"], below_cron["unit"]) == ("accept", "cron.service")
    assert (by_user["verdict"], by_user["unit"]) == ("reject", "user@1000.service/cron.service")


@pytest.mark.usefixtures("services")
def test_a_container_is_known_by_the_beginning_of_its_id(
    world: World, units: Path, rules: WriteRules
) -> None:
    name = "3f2a90c1d5e7" * 5 + "aaaa"
    path = rules(
        "default: reject\nunattributed: deny\nrules:\n"
        "  - {name: web, action: allow, app: 'container:3f2a90c1d5e7'}\n"
    )
    with Firewall(world, [path], cgroup=units) as firewall:
        inside = connected(world, firewall, cgroups.make(units / f"docker-{name}.scope" / "init"))
        other = connected(world, firewall, cgroups.make(units / f"docker-{name[::-1]}.scope"))

    assert (inside["verdict"], inside["app"]) == ("accept", f"container:{name}")
    assert other["verdict"] == "reject"


@pytest.mark.usefixtures("services")
def test_the_fields_of_records_are_those_that_rules_match(world: World, rules: WriteRules) -> None:
    with Firewall(world, [rules("default: allow\nunattributed: deny\nrules: []\n")]) as firewall:
        seen = connected(world, firewall)
    fields = {name: seen[name] for name in ("comm", "gid", "cgroup", "iface", "saddr", "netns")}
    same = "".join(f"    {name}: {value}\n" for name, value in fields.items())
    days = [datetime.now().astimezone() + timedelta(days=after) for after in (0, 1, 3)]
    today, tomorrow, later = (f"{day:%a}".lower() for day in days)
    path = rules(
        "default: deny\nunattributed: deny\nrules:\n"
        f"  - {{name: another day, action: deny, schedule: {later}}}\n"
        "  - {name: another interface, action: deny, iface: {not: '" + fields["iface"] + "'}}\n"
        "  - {name: another namespace, action: deny, netns: {not: own}}\n"
        "  - {name: another port, action: deny, sport: 1-1023}\n"
        f"  - name: these\n    action: allow\n    schedule: [{today}, {tomorrow}]\n"
        f"    expires: {days[2]:%Y-%m-%d}\n    netns: own\n    sport: 1024-65535\n"
        + same.replace(f"    netns: {seen['netns']}\n", "")
    )
    with Firewall(world, [path]) as firewall:
        record = connected(world, firewall)

    assert (record["verdict"], record["rule"]) == ("accept", "these")


@pytest.mark.slow
def test_a_flow_that_the_kernel_lets_pass_is_stopped_when_its_rule_expires(
    world: World, services: Services, rules: WriteRules
) -> None:
    expires = datetime.now(UTC) + timedelta(seconds=12)
    path = rules(
        "default: reject\nunattributed: deny\nrules:\n"
        f"  - {{name: now, action: allow, proto: udp, expires: {expires:%Y-%m-%dT%H:%M:%SZ}}}\n"
    )
    with Firewall(world, [path], extra=("--no-cache",)) as firewall:
        done = world.run(["/usr/bin/python3", "-I", "-S", "-c", STREAM], timeout_s=30)
        ended = datetime.now(UTC)
        cut = firewall.wait_for_record(having(pid=done.pid, reason="cut"))
        packets = sum(each["packets"] for each in firewall.records if each["pid"] == done.pid)

    *_, sent, last = done.stdout.splitlines()
    assert last.startswith("refused")
    assert (cut["verdict"], cut["action"], cut["rule"]) == ("drop", "reject", None)
    assert cut["generation"] == 1
    # The kernel let most of them pass without asking, and stopped when the time was over.
    assert packets < TRUST_AFTER * 2 < int(sent)
    assert len(services.arrived("udp")) <= int(sent)
    assert expires.replace(microsecond=0) <= ended <= expires + timedelta(seconds=3)
