"""Lists end to end: the real daemon, real programs, lists in files and on a web server."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from builders import WriteRules
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.process import Finished, same_modules
from nfsnitch.lab.programs import build_program
from nfsnitch.lab.services import ECHO_PORT, HTTP_PORT
from nfsnitch.lab.world import World
from units import confined

pytestmark = [
    pytest.mark.undisturbed,
    pytest.mark.root,
    pytest.mark.netns,
    pytest.mark.bpf,
]

RULES = """
default: allow
lists:
  bad: {where}
rules:
  - {{name: listed, action: reject, list: bad}}
"""
WEB_SERVER = """
import functools, http.server, sys
server = http.server.HTTPServer(("127.0.0.1", 0), functools.partial(
    http.server.SimpleHTTPRequestHandler, directory=sys.argv[1]))
print(server.server_address[1], flush=True)
server.serve_forever()
"""


def connects(world: World) -> Finished:
    """Run a program that tries one connection."""
    return world.run([str(build_program("one_connect")), "192.0.2.1", str(ECHO_PORT)])


def lists(world: World, *argv: str) -> Finished:
    """Run ``nfsnitch lists`` beside the daemon."""
    argv = (sys.executable, "-m", "nfsnitch.cli", "lists", *argv)
    return world.spawn(argv, env=same_modules()).finish(60)


def rows(world: World) -> Sequence[dict[str, object]]:
    """Return how the daemon says that its lists are."""
    return [json.loads(line) for line in lists(world, "show", "--json").stdout.splitlines()]


@pytest.mark.usefixtures("services")
def test_what_is_on_a_list_is_refused_as_long_as_it_is_there(
    world: World, rules: WriteRules, tmp_path: Path
) -> None:
    listed = tmp_path / "bad.txt"
    listed.write_text("# bad ones\n198.51.100.7\n192.0.2.0/24\n", "ascii")
    path = rules(RULES.format(where=f"{{file: {listed}}}"))
    with Firewall(world, [path]) as firewall:
        refreshed = lists(world, "refresh", "bad")
        refused = connects(world)
        record = firewall.wait_for_record(having(pid=refused.pid))
        found = lists(world, "find", "192.0.2.1")
        listed.write_text("198.51.100.7\n", "ascii")
        again = lists(world, "refresh", "bad")
        allowed = connects(world)

    assert (refreshed.returncode, refreshed.stdout) == (0, "bad: 0 names, 2 networks\n")
    assert refused.returncode != 0
    assert (record["verdict"], record["rule"]) == ("reject", "listed")
    assert (found.returncode, found.stdout) == (0, "bad: line 3: 192.0.2.0/24\n")
    assert (again.stdout, allowed.returncode) == ("bad: 0 names, 1 network\n", 0)


@pytest.mark.usefixtures("services")
def test_a_list_is_fetched_and_what_it_refuses_is_told_from_what_it_does_not(
    world: World, rules: WriteRules, tmp_path: Path
) -> None:
    (tmp_path / "ads.txt").write_text("tracker.example\n192.0.2.1\n", "ascii")
    server = world.spawn([sys.executable, "-c", WEB_SERVER, str(tmp_path)])
    port = next(server.stdout.follow(timeout_s=20))
    where = f"{{url: 'http://127.0.0.1:{port}/ads.txt', format: domains}}"
    with Firewall(world, [rules(RULES.format(where=where))]):
        refreshed = lists(world, "refresh")
        shown = rows(world)

    assert refreshed.returncode == 0, refreshed.stderr
    assert shown[0]["networks"] == 1
    assert shown[0]["problem"] is None


@pytest.mark.usefixtures("all_services")
def test_a_list_is_fetched_though_nobody_may_send_and_by_nobody_else(
    world: World, rules: WriteRules
) -> None:
    (world.folder / "www" / "ads.txt").write_text("tracker.example\n", "ascii")
    path = rules(
        "default: deny\nlists: {ads: {url: 'http://192.0.2.1/ads.txt', format: domains}}\n"
        "rules: [{name: listed, action: reject, list: ads, dns: refuse}]\n"
    )
    with Firewall(world, [path], cgroup=world.run_name.cgroup()) as firewall:
        refreshed = lists(world, "refresh")
        record = firewall.wait_for_record(having(dport=HTTP_PORT, verdict="accept"))
        curl = world.run(["curl", "--silent", "--max-time", "1", "http://192.0.2.1/ads.txt"])
        refused = firewall.wait_for_record(having(pid=curl.pid))

    assert (refreshed.returncode, refreshed.stdout) == (0, "ads: 1 name, 0 networks\n")
    assert (record["reason"], record["rule"]) == ("own", None)
    assert (refused["reason"], refused["verdict"]) == ("default", "drop")


@pytest.mark.usefixtures("services")
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
def test_within_the_limits_of_its_unit_lists_are_fetched_and_compiled_all_the_same(
    world: World, rules: WriteRules, tmp_path: Path
) -> None:
    (tmp_path / "ads.txt").write_text("192.0.2.1\n", "ascii")
    server = world.spawn([sys.executable, "-c", WEB_SERVER, str(tmp_path)])
    port = next(server.stdout.follow(timeout_s=20))
    where = f"{{url: 'http://127.0.0.1:{port}/ads.txt'}}"
    firewall = Firewall(world, [rules(RULES.format(where=where))])
    firewall.argv = confined("nfsnitch.service", firewall.argv)
    with firewall:
        refreshed = lists(world, "refresh")
        refused = connects(world)
        stopped = firewall.stop()

    assert refreshed.stdout == "bad: 0 names, 1 network\n", refreshed.stderr
    assert refused.returncode != 0
    assert stopped.returncode == 0, stopped.stderr
