"""Desktop entries: what the specification says, and what hostile files may say."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import executable, process
from nfsnitch.adapters import desktop_entries
from nfsnitch.core.desktop_entry import MOST_CHARACTERS, locales, parse, program_of
from nfsnitch.core.identity import DesktopName
from nfsnitch.core.owner import Process
from nfsnitch.core.unknown import Unknown

ENTRY = """
# a comment
[Desktop Entry]
Type=Application
Name=Web Browser
Name[de]=Netzbetrachter
Name[de_AT]=Netzbetrachter aus Wien
Icon=web-browser
Exec="/usr/bin/web browser" --new %u
TryExec=web
[Desktop Action new]
Name=New window
Exec=/usr/bin/another
"""


def program(path: str, *, cgroup: str = "/user.slice", args: tuple[str, ...] = ()) -> Process:
    return replace(process(path), exe=executable(path), cgroup=cgroup, args=args or (path,))


def test_an_entry_is_read_up_to_the_next_group() -> None:
    entry = parse(ENTRY.encode())

    assert entry == ("Web Browser", "web-browser", "/usr/bin/web browser", "web")


def test_the_best_of_several_languages_is_taken() -> None:
    for locale, name in (
        ("de_AT.UTF-8", "Netzbetrachter aus Wien"),
        ("de_CH", "Netzbetrachter"),
        ("fr", "Web Browser"),
        ("C.UTF-8", "Web Browser"),
        ("", "Web Browser"),
    ):
        entry = parse(ENTRY.encode(), locale)
        assert entry is not None
        assert entry.name == name
    assert locales("sr_RS.UTF-8@latin") == ("sr_RS@latin", "sr_RS", "sr@latin", "sr")


def test_what_is_no_application_or_hidden_or_has_no_name_is_none() -> None:
    for old, new in (
        ("Type=Application", "Type=Link"),
        ("Icon=web-browser", "Hidden=true"),
        ("Name=Web Browser", "Name="),
        ("[Desktop Entry]", "[Other]"),
    ):
        assert parse(ENTRY.replace(old, new).encode()) is None


def test_the_program_of_a_command_line_is_found_behind_env_and_quotes() -> None:
    for command, expected in (
        ("curl %u", "curl"),
        ("env A=b C=d /usr/bin/tool --x", "/usr/bin/tool"),
        ("/usr/bin/env A=b tool", "tool"),
        ("env -u A tool", None),
        ('"/opt/with \\"quotes\\" $/x" y', '/opt/with "quotes" $/x'),
        ('"never ends', None),
        ("", None),
        ("   ", None),
    ):
        assert program_of(command) == expected, command


@given(st.binary(max_size=300), st.text(max_size=12))
def test_whatever_a_file_holds_nothing_is_raised_and_nothing_is_long(
    raw: bytes, locale: str
) -> None:
    start = b"[Desktop Entry]\nType=Application\nName=x\nExec="
    for each in (raw, start + raw, start.replace(b"Name=x", b"Name=" + raw)):
        entry = parse(each, locale)
        if entry is not None:
            assert 0 < len(entry.name) <= MOST_CHARACTERS


def make_machine(root: Path) -> tuple[Path, Path]:
    """Make a folder of entries and one of programs."""
    entries, programs = root / "applications", root / "bin"
    (entries / "kde").mkdir(parents=True)
    programs.mkdir()
    return entries, programs


def add_program(path: Path) -> None:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)


def entry_text(name: str, command: str) -> str:
    return f"[Desktop Entry]\nType=Application\nName={name}\nIcon=an-icon\nExec={command}\n"


def test_a_program_has_the_name_of_the_entry_that_runs_it(tmp_path: Path) -> None:
    entries, programs = make_machine(tmp_path)
    add_program(programs / "real-1.2")
    (programs / "tool").symlink_to("real-1.2")
    (entries / "kde" / "tool.desktop").write_text(entry_text("A Tool", "tool %f"))
    (entries / "pipe.desktop").symlink_to("/dev/zero")
    os.mkfifo(entries / "fifo.desktop")
    index = desktop_entries.read([entries], [str(programs)])

    found = DesktopName("kde-tool.desktop", "A Tool", "an-icon")
    assert index.name_of(program(str(programs / "real-1.2"))) == found
    assert isinstance(index.name_of(program(str(programs / "other"))), Unknown)


def test_an_app_of_flatpak_or_snap_and_a_script_are_found_by_what_they_are(tmp_path: Path) -> None:
    entries, programs = make_machine(tmp_path)
    add_program(programs / "script")
    (entries / "org.x.App.desktop").write_text(entry_text("App", "flatpak run org.x.App"))
    (entries / "snappy_snappy.desktop").write_text(entry_text("Snappy", "snap run snappy"))
    (entries / "script.desktop").write_text(entry_text("Script", str(programs / "script")))
    (entries / "python.desktop").write_text(entry_text("Python", "/usr/bin/python3"))
    index = desktop_entries.read([entries], [str(programs)])
    manager = "/user.slice/user-1000.slice/user@1000.service/app.slice"

    def name(of: Process) -> str | None:
        found = index.name_of(of)
        return None if isinstance(found, Unknown) else found.name

    assert name(program("/app/bin/x", cgroup=f"{manager}/app-flatpak-org.x.App-7.scope")) == "App"
    assert name(program("/snap/x", cgroup=f"{manager}/snap.snappy.x-1.scope")) == "Snappy"
    argv = ("python3", str(programs / "script"))
    assert name(program("/usr/bin/python3", args=argv)) == "Script"
    # An interpreter is not what it runs.
    assert name(program("/usr/bin/python3", args=("python3", "/tmp/evil"))) is None  # noqa: S108


def test_a_wrappers_name_counts_only_where_root_alone_puts_programs(tmp_path: Path) -> None:
    entries, programs = make_machine(tmp_path)
    add_program(programs / "browser")
    (entries / "browser.desktop").write_text(entry_text("Browser", "browser"))
    index = desktop_entries.read([entries], [str(programs)])

    assert isinstance(index.name_of(program("/usr/lib/browser/browser")), DesktopName)
    assert isinstance(index.name_of(program("/home/mallory/browser")), Unknown)


def test_a_folder_that_changes_or_comes_later_makes_the_index_stale(tmp_path: Path) -> None:
    entries, programs = make_machine(tmp_path)
    later = tmp_path / "later"
    index = desktop_entries.read([entries, later], [str(programs)])
    assert not index.is_stale()

    later.mkdir()
    assert index.is_stale()
    index = desktop_entries.read([entries, later], [str(programs)])
    os.utime(entries / "kde", ns=(0, 5))
    assert index.is_stale()


def test_the_number_of_entries_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desktop_entries, "MOST_ENTRIES", 10)
    entries, programs = make_machine(tmp_path)
    add_program(programs / "tool")
    for number in range(15):
        (entries / f"{number}.desktop").write_text(entry_text("x", "tool"))

    index = desktop_entries.read([entries], [str(programs)])
    assert len(index.by_entry) == 10
