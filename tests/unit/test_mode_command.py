"""``nfsnitch mode``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from control_play import STATUS
from nfsnitch import cli
from nfsnitch.protocol import ModeRequest, StatusRequest
from scripted_daemon import ScriptedDaemon


@pytest.fixture(name="daemon")
def fixture_daemon(tmp_path: Path) -> Iterator[ScriptedDaemon]:
    daemon = ScriptedDaemon(tmp_path / "daemon.sock")
    yield daemon
    daemon.hang_up()


def mode(daemon: ScriptedDaemon, *argv: str) -> int:
    return cli.main(["mode", *argv, "--socket", str(daemon.path)])


def test_it_shows_the_mode_and_how_long_it_holds(
    daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mode(daemon) == 0
    assert capsys.readouterr().out == "ask: held, and somebody is asked\n"
    silent = replace(STATUS, mode="allow-silently", mode_left_s=899.5)
    daemon.instead[StatusRequest] = lambda _: [silent]
    assert mode(daemon) == 0
    said = capsys.readouterr().out

    assert said.startswith("allow-silently: let out, and listed (nfsnitch rules silenced)")
    assert said.endswith("; 14 min 59 s left, then it asks again\n")


def test_it_sets_the_mode_for_a_while_or_for_good(
    daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mode(daemon, "deny-silently", "--for", "15m") == 0
    assert daemon.next(ModeRequest) == ModeRequest("deny-silently", 900.0)
    assert "15 min left, then it asks again" in capsys.readouterr().out
    assert mode(daemon, "ask") == 0
    assert daemon.next(ModeRequest) == ModeRequest("ask", None)


@pytest.mark.parametrize(
    "argv", [["--for", "15m"], ["ask", "--for", "15m"], ["deny-silently", "--for", "soon"], ["no"]]
)
def test_what_makes_no_sense_is_a_usage_error(daemon: ScriptedDaemon, argv: list[str]) -> None:
    assert mode(daemon, *argv) == cli.USAGE_ERROR
    assert daemon.heard.empty()


def test_who_may_not_is_told_so(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.rights = ("watch",)
    assert mode(daemon, "allow-silently") == 4
    assert capsys.readouterr().err == "nfsnitch: only members of nfsnitch may\n"
    daemon.hang_up()
    assert mode(daemon) == 3
