"""All that helps to understand a failure, in one folder: captures, records, ruleset, counters."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from nfsnitch.lab.scenario.outcomes import Failure
from nfsnitch.lab.scenario.scene import Scene, folder_name
from nfsnitch.lab.waiting import LabError

_PREFIX = "nfsnitch-lab-"
_TABLE = ["nft", "list", "ruleset"]


def keep(scene: Scene, failures: Sequence[Failure], where: Path | None) -> Path:
    """Write what there is of a failed scenario into a new folder, and return it.

    It is made in *where*; None: in the folder for temporary files. What cannot be had, as the
    counters of a daemon that was killed, is said in its place.
    """
    folder = _new_folder(scene, where)
    scenario, stage = scene.scenario, scene.stage
    with suppress(OSError):
        shutil.copyfile(scenario.file, folder / "scenario.yaml")
    _write(folder / "failure.txt", "\n\n".join(map(_text, failures)))
    with suppress(LabError):
        _write(folder / "records.jsonl", "\n".join(map(json.dumps, stage.daemon.records)))
        _write(folder / "firewall.stderr", stage.daemon.firewall.child.stderr.text())
    _write(folder / "rules.yaml", stage.daemon.rules_file.read_text(encoding="utf-8"))
    _write(folder / "ruleset.nft", _ruleset(scene))
    _write(folder / "counters.json", _counters(scene))
    stage.captures.write(folder)
    for name, child in scene.children.items():
        for stream, file in (("stdout", child.stdout), ("stderr", child.stderr)):
            if text := file.text():
                _write(folder / f"{name}.{stream}", text)
    return folder


def _new_folder(scene: Scene, where: Path | None) -> Path:
    name = folder_name(scene.scenario)
    if where is None:
        return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{name}-"))
    where.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=where))


def _ruleset(scene: Scene) -> str:
    world = scene.stage.world
    try:
        done = world.run(_TABLE, cgroup=world.infra)
    except LabError as error:
        return str(error)
    return done.stdout or done.stderr


def _counters(scene: Scene) -> str:
    stage = scene.stage
    try:
        told = {
            "running": stage.daemon.is_on,
            "grown": {k: n for k, n in stage.daemon.grown().items() if n},
        }
    except LabError as error:
        told = {"running": False, "problem": str(error)}
    return json.dumps(told, indent=2)


def _text(failure: Failure) -> str:
    seen = failure.seen.replace("\n", "\n  ")
    return f"{failure.place}: {failure.step}\nexpected: {failure.expected}\nseen: {seen}"


def _write(path: Path, text: str) -> None:
    path.write_text(f"{text}\n", encoding="utf-8", errors="backslashreplace")
