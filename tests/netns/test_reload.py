"""Rules that are read again: by signal, by file, on request; the good and the bad."""

from __future__ import annotations

import pytest

from builders import WriteRules
from daemon_counters import counted
from nfsnitch.core.counters import Counter
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.services import ECHO_PORT, Services
from nfsnitch.lab.world import World
from reload_play import (
    AT_MOST_S,
    TALKER,
    THERE,
    deciding,
    goes_on,
    moment,
    reload,
    said,
    talker,
)

pytestmark = [pytest.mark.root, pytest.mark.netns, pytest.mark.bpf]

BAD = "rules: [{name: echo, action: alow}]\n"


def test_a_bad_file_changes_nothing_and_all_that_is_wrong_is_told(
    world: World, services: Services, rules: WriteRules
) -> None:
    assert services.echo.pid
    path = rules(deciding("allow"))
    with Firewall(world, [path]) as firewall:
        living = talker(world, "tcp", THERE, ECHO_PORT)
        path.write_text(BAD, encoding="utf-8")
        reload(firewall)
        child = firewall.child
        child.wait_for_line(child.stderr, lambda line: "did you mean 'allow'" in line, 10)
        another = talker(world, "tcp", THERE, ECHO_PORT)
        record = firewall.wait_for_record(having(pid=another.pid))
        goes_on(living)
        stopped = firewall.stop()

    assert (record["verdict"], record["generation"]) == ("accept", 1)
    assert "reload refused; generation 1 stays in force" in stopped.stderr
    assert f"nfsnitch:   {path}:1:" in stopped.stderr
    counters = counted(stopped)
    assert counters[Counter.RELOADS_REFUSED] >= 1  # by signal, and by the change of the file
    assert counters[Counter.RELOADS] == counters[Counter.FLOWS_CUT] == 0


def test_a_changed_file_is_read_without_being_asked_to(
    world: World, services: Services, rules: WriteRules
) -> None:
    assert services.echo.pid
    path = rules(deciding("allow"))
    with Firewall(world, [path.parent]) as firewall:
        program = talker(world, "tcp", THERE, ECHO_PORT)
        path.with_name("00-first.yaml").write_text(
            "rules: [{name: first, action: deny, dport: echo}]\n", encoding="utf-8"
        )
        cut = firewall.wait_for_record(having(pid=program.pid, reason="cut"))

    assert cut["rule"] == "first"


def test_a_flow_that_is_held_is_decided_at_once_by_the_new_rules(
    world: World, services: Services, rules: WriteRules
) -> None:
    assert services.echo.pid
    path = rules(deciding("ask"))
    with Firewall(world, [path]) as firewall:
        held = world.spawn(["python3", "-I", "-S", "-c", TALKER, "udp", THERE, str(ECHO_PORT), ""])
        said(held, "sent 3")
        path.write_text(deciding("allow"), encoding="utf-8")
        asked = reload(firewall)
        record = firewall.wait_for_record(having(pid=held.pid))

    assert (record["verdict"], record["rule"], record["generation"]) == ("accept", "echo", 2)
    assert record["held_ms"] > 0
    assert moment(record) - asked < AT_MOST_S
