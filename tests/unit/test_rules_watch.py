"""Changed rule files are noticed however they were changed; what is none of them is not."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from nfsnitch.adapters.rules_watch import RulesWatch, state_of

RULES = "rules: []\n"


class Watched:
    """A folder with a rule file, a directory of rules, and what was noticed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "etc" / "rules.yaml"
        self.directory = folder / "rules.d"
        self.file.parent.mkdir()
        self.directory.mkdir()
        self.file.write_text(RULES, encoding="utf-8")
        (self.directory / "10.yaml").write_text(RULES, encoding="utf-8")
        self.noticed = 0
        self.watch: RulesWatch | None = None

    def take_note(self) -> None:
        self.noticed += 1

    def after(self, change: Callable[[], object]) -> bool:
        """Whether *change* is noticed. The kernel queues the event before the change returns."""
        assert self.watch is not None
        self.watch.read()
        before = self.noticed
        change()
        self.watch.read()
        return self.noticed > before

    def noticed_and_told_apart(self, change: Callable[[], object]) -> bool:
        """Whether it is noticed, and what was read before is told from what is there now."""
        paths = [self.file, self.directory]
        before = state_of(paths)
        return self.after(change) and state_of(paths) != before


@pytest.fixture(name="watched")
def fixture_watched(tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(tmp_path)
    with closing(RulesWatch([watched.file, watched.directory], watched.take_note)) as watch:
        watched.watch = watch
        yield watched


def test_a_file_written_in_place(watched: Watched) -> None:
    assert watched.noticed_and_told_apart(lambda: watched.file.write_text("rules:\n  []\n"))


def test_a_file_renamed_into_place(watched: Watched) -> None:
    new = watched.file.with_name(".rules.yaml.swp")
    new.write_text(RULES, encoding="utf-8")

    assert watched.noticed_and_told_apart(lambda: new.replace(watched.file))


def test_a_file_deleted_and_then_made_anew(watched: Watched) -> None:
    assert watched.noticed_and_told_apart(watched.file.unlink)
    assert watched.noticed_and_told_apart(lambda: watched.file.write_text(RULES))


@pytest.mark.parametrize("change", ["new", "written", "deleted"])
def test_a_file_in_a_directory_of_rules(watched: Watched, change: str) -> None:
    old, new = watched.directory / "10.yaml", watched.directory / "20.yaml"
    changes: dict[str, Callable[[], object]] = {
        "new": lambda: new.write_text(RULES, encoding="utf-8"),
        "written": lambda: old.write_text("rules:\n  []\n", encoding="utf-8"),
        "deleted": old.unlink,
    }

    assert watched.noticed_and_told_apart(changes[change])


def test_a_directory_of_rules_that_is_exchanged_whole_is_watched_in_place_of_the_old_one(
    watched: Watched,
) -> None:
    def exchange() -> None:
        watched.directory.rename(watched.folder / "old")
        watched.directory.mkdir()

    assert watched.noticed_and_told_apart(exchange)
    assert watched.watch is not None
    watched.watch.watch_again()
    new = watched.directory / "30.yaml"
    assert watched.noticed_and_told_apart(lambda: new.write_text(RULES, encoding="utf-8"))
    stale = watched.folder / "old" / "10.yaml"
    assert not watched.after(lambda: stale.write_text("", encoding="utf-8"))


def test_the_parent_directory_exchanged(watched: Watched) -> None:
    other = watched.folder / "etc2"
    other.mkdir()
    (other / "rules.yaml").write_text(RULES, encoding="utf-8")

    def exchange() -> None:
        (watched.folder / "etc").rename(watched.folder / "etc1")
        other.rename(watched.folder / "etc")

    assert watched.noticed_and_told_apart(exchange)


def test_symbolic_links_are_watched_each_where_it_is_and_where_it_leads(watched: Watched) -> None:
    """As Kubernetes mounts a ConfigMap: rules.yaml → ..data/rules.yaml, ..data → a folder."""
    assert watched.watch is not None
    for name in ("one", "two"):
        (watched.folder / name).mkdir()
        (watched.folder / name / "rules.yaml").write_text(RULES, encoding="utf-8")
    data = watched.folder / "..data"
    data.symlink_to("one")
    watched.file.unlink()
    watched.file.symlink_to("../..data/rules.yaml")
    watched.watch.watch_again()

    def turn() -> None:
        (watched.folder / "new").symlink_to("two")
        (watched.folder / "new").replace(data)

    target = watched.folder / "one" / "rules.yaml"
    assert watched.noticed_and_told_apart(lambda: target.write_text("rules:\n  []\n"))
    assert watched.noticed_and_told_apart(turn)


def test_other_files_are_none_of_ours(watched: Watched) -> None:
    for name in ("README", ".10.yaml.swp", "10.yaml~"):
        other = watched.directory / name
        assert not watched.after(lambda: other.write_text("x", encoding="utf-8"))  # noqa: B023
    beside = watched.file.with_name("other.yaml")
    assert not watched.after(lambda: beside.write_text("x", encoding="utf-8"))
    assert not watched.after(watched.file.read_bytes)


def test_a_file_that_is_not_there_yet_is_waited_for_from_where_its_path_ends(
    tmp_path: Path,
) -> None:
    watched = Watched(tmp_path)
    missing = tmp_path / "later" / "rules.yaml"
    with closing(RulesWatch([missing], watched.take_note)) as watch:
        watched.watch = watch
        assert watched.after(missing.parent.mkdir)
        watch.watch_again()
        assert watched.after(lambda: missing.write_text(RULES, encoding="utf-8"))


def test_more_events_than_the_kernel_keeps_count_as_a_change(watched: Watched) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text(encoding="ascii"))
    names = [watched.directory / "a", watched.directory / "b"]
    names[0].touch()

    def flood() -> None:
        for number in range(limit // 2 + 10):
            os.rename(names[number % 2], names[1 - number % 2])  # noqa: PTH104

    assert watched.after(flood)


def test_the_descriptor_is_readable_when_there_is_something_to_read(watched: Watched) -> None:
    assert watched.watch is not None
    assert select.select([watched.watch], [], [], 0)[0] == []

    watched.file.touch()

    assert select.select([watched.watch], [], [], 0)[0] == [watched.watch]


def test_links_that_lead_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    watched = Watched(tmp_path)

    with closing(RulesWatch([tmp_path / "a"], watched.take_note)) as watch:
        watched.watch = watch
        assert watched.after((tmp_path / "b").unlink)
