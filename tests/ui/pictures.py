"""Draws the pictures of docs/pictures.

    PYTHONPATH=src:ui:tests .venv/bin/python -m ui.pictures [DIRECTORY [LANGUAGE]]

The windows are the real ones, in front of a daemon that plays.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("QT_SCALE_FACTOR", "1.5")

from PyQt6.QtCore import QDateTime, QSettings
from PyQt6.QtWidgets import QApplication, QWidget

from nfsnitch.protocol import (
    Asked,
    Connections,
    ConnectionsRequest,
    History,
    HistoryRequest,
    Preview,
    PreviewRequest,
    Rules,
    RulesRequest,
    Silenced,
    SilencedRequest,
)
from nfsnitch_ui import i18n
from nfsnitch_ui.application import Program
from nfsnitch_ui.style import Style
from ui import examples
from ui.play_daemon import PlayDaemon
from ui.waiting import settle, wait_for

_FIREFOX = examples.owner(
    "/usr/lib/firefox-esr/firefox-esr",
    "--new-tab",
    "https://www.example.org/a/rather/long/path?with=parameters&and=more#of-it",
    desktop={"entry": "firefox-esr.desktop", "name": "Firefox ESR", "icon": "firefox-esr"},
    unit="user@1000.service/app-firefox.scope",
    parents=[
        {"pid": 2_100, "start_time": 9, "exe": "/usr/bin/gnome-shell"},
        {"pid": 1_900, "start_time": 8, "exe": "/usr/lib/systemd/systemd"},
    ],
)
_TOOL = examples.owner(
    "/opt/backup/bin/backup-agent",
    "--daemon",
    "--target=vault",
    uid=0,
    user="root",
    package="none",
    changed=True,
    previous_sha256=examples.OTHER_SHA256,
    sha256=examples.SHA256,
    package_updated=False,
    unit="backup-agent.service",
    parents=[{"pid": 1, "start_time": 1, "exe": "/usr/lib/systemd/systemd"}],
)
_PYTHON = examples.owner(
    "/usr/bin/python3.11", "fetch.py", script="/home/alice/bin/fetch.py", package="python3.11"
)
_DNS = examples.owner("/usr/lib/systemd/systemd-resolved", uid=102, user="systemd-resolve")
_MAIL = examples.owner("/usr/bin/thunderbird", desktop={"name": "Thunderbird", "icon": None})
_RULE = """name: firefox-esr to www.example.org 443/tcp
action: allow
exe: /usr/lib/firefox-esr/firefox-esr
host: www.example.org
proto: tcp
dport: 443
"""
_BACKUP_RULE = """name: backup-agent to 2001:db8::20:5 9418/tcp
action: allow
exe: /opt/backup/bin/backup-agent
daddr: 2001:db8::20:5
proto: tcp
dport: 9418
"""


def _named(daddr: str, name: str, dport: int = 443) -> examples.Json:
    return examples.called(examples.flow(daddr, dport), name)


def questions() -> list[Asked]:
    """Return some questions."""
    asked = examples.asked
    return [
        asked(1, _FIREFOX, _named("192.0.2.80", "www.example.org"), left_s=24.0, flows=3),
        asked(2, _TOOL, examples.flow("2001:db8::20:5", 9_418), left_s=26.0),
        asked(3, examples.owner("/usr/bin/curl", "-s"), examples.flow("192.0.2.17", 80)),
        asked(4, _PYTHON, examples.flow("2001:db8:7::1", 443), left_s=27.0),
        asked(5, _DNS, examples.flow("192.0.2.53", 53, "udp"), left_s=28.0),
        asked(6, _MAIL, _named("192.0.2.25", "imap.example.org", 993), left_s=29.0),
    ]


def records() -> list[examples.Json]:
    """Return some decisions, the latest last."""
    now = QDateTime.currentDateTimeUtc()
    made = []
    senders = [_FIREFOX, _DNS, _PYTHON, _MAIL, _TOOL, examples.owner("/usr/bin/ssh")]
    places = [
        ("192.0.2.80", 443, "tcp"),
        ("192.0.2.53", 53, "udp"),
        ("2001:db8:7::1", 443, "tcp"),
        ("192.0.2.25", 993, "tcp"),
        ("2001:db8::20:5", 9_418, "tcp"),
        ("192.0.2.7", 22, "tcp"),
    ]
    names = ["www.example.org", None, "files.example", "imap.example.org", None, "host.example"]
    verdicts = ["accept", "accept", "drop", "accept", "reject", "accept"]
    rules = ["the web", "names", None, "mail", "no backups abroad", "ssh"]
    for place in range(40):
        which = place % 6
        when = now.addSecs(-17 * (40 - place)).toString("yyyy-MM-ddTHH:mm:ss")
        flow = examples.flow(*places[which])
        name = names[which]
        if name is not None:
            flow = examples.called(flow, name)
        row = examples.record(place, verdicts[which], **senders[which], **flow)
        why = "default" if rules[which] is None else "rule"
        made.append({**row, "time": f"{when}.000000Z", "rule": rules[which], "reason": why})
    return made


def rules() -> list[examples.Json]:
    """Return some rules."""
    return [
        examples.rule("firefox-esr to www.example.org 443/tcp", rule=_RULE),
        examples.rule(
            "thunderbird to 192.0.2.25",
            rule="name: thunderbird to 192.0.2.25\naction: allow\n"
            "exe: /usr/bin/thunderbird\ndaddr: 192.0.2.25\n",
        ),
        examples.rule(
            "no backup-agent anywhere",
            action="deny",
            rule="name: no backup-agent anywhere\naction: deny\n"
            "exe: /opt/backup/bin/backup-agent\n",
        ),
        examples.rule(
            "python3.11, port 443",
            action="reject",
            enabled=False,
            rule="name: python3.11, port 443\naction: reject\nenabled: false\n"
            "exe: /usr/bin/python3.11\ndport: 443\n",
        ),
        examples.rule("curl to 443/tcp anywhere", left_s=86_000.0, until="2030-06-30T18:00:00Z"),
    ]


def connections() -> list[examples.Json]:
    """Return some connections."""
    rows = []
    for place, row in enumerate(records()[:18]):
        rows.append({**row, "sport": 40_000 + place, "iface": "eth0", "passes": True})
    return rows


def draw(directory: Path, scheme: str, suffix: str, *, everything: bool) -> None:
    """Draw the pictures of one scheme."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "socket"
        daemon = PlayDaemon(path)
        daemon.answers[PreviewRequest] = lambda _it: Preview(_BACKUP_RULE)
        daemon.answers[RulesRequest] = lambda _it: Rules(1, 5, tuple(rules()))
        daemon.answers[HistoryRequest] = lambda _it: History(1, tuple(records()))
        daemon.answers[ConnectionsRequest] = lambda _it: Connections(18, tuple(connections()))
        silenced = tuple(
            examples.silenced(each.number, sender=each.owner, to=each.flow) for each in questions()
        )
        daemon.answers[SilencedRequest] = lambda _it: Silenced(len(silenced), silenced)
        settings = QSettings(f"{name}/settings.ini", QSettings.Format.IniFormat)
        program = Program(str(path), settings)
        application = QApplication.instance()
        assert isinstance(application, QApplication)
        style = Style(application, scheme)
        program.connection.start()
        wait_for(lambda: program.connection.asking is not None)
        _draw_prompt(program, daemon, directory, suffix)
        if everything:
            _draw_main(program, directory, suffix)
        program.close()
        daemon.close()
        style.setParent(None)
        settle()


def _draw_prompt(program: Program, daemon: PlayDaemon, directory: Path, suffix: str) -> None:
    first, *others = questions()
    prompt = program.prompt
    daemon.send(first)
    wait_for(lambda: prompt.shown() == (1,))
    _past_guard(program)
    _save(prompt, directory / f"prompt-{suffix}.png")
    daemon.send(*others)
    wait_for(lambda: len(program.questions) == len(others) + 1)
    settle()
    prompt.list.select(2)
    prompt.controls.rule_button.setChecked(True)
    wait_for(lambda: prompt.shown() == (2,) and bool(prompt.controls.editor.rule()))
    _past_guard(program)
    _save(prompt, directory / f"questions-{suffix}.png")


def _draw_main(program: Program, directory: Path, suffix: str) -> None:
    main = program.main
    main.show()
    pages: dict[str, tuple[QWidget, Callable[[], int]]] = {
        "connections": (main.connections, lambda: len(main.connections.model.rows)),
        "rules": (main.rules, lambda: len(main.rules.table.model_.rows)),
        "history": (main.history, lambda: len(main.history.model.rows)),
        "silenced": (main.silenced, lambda: len(main.silenced.model.rows)),
    }
    for name, (view, rows) in pages.items():
        main.tabs.setCurrentWidget(view)
        wait_for(rows)
        if name == "rules":
            main.rules.table.selectRow(0)
        if name == "history":
            main.history.table.selectRow(2)
        if name == "silenced":
            main.silenced.table.selectRow(1)
        settle()
        _save(main, directory / f"{name}-{suffix}.png")


def _past_guard(program: Program) -> None:
    """Wait until the buttons can be pressed, and look so."""
    button = program.prompt.controls.buttons["allow"]
    wait_for(lambda: button.property("waiting") is not True)
    settle()


def _save(window: QWidget, path: Path) -> None:
    settle()
    picture = window.grab()
    picture.setDevicePixelRatio(1.0)
    picture.save(str(path), "PNG", 50)


def main() -> None:
    """Draw them all."""
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/pictures")
    language = sys.argv[2] if len(sys.argv) > 2 else None
    directory.mkdir(parents=True, exist_ok=True)
    i18n.use([language] if language else [])
    application = QApplication([sys.argv[0]])
    draw(directory, "light", "light", everything=True)
    draw(directory, "dark", "dark", everything=False)
    application.quit()


if __name__ == "__main__":
    main()
