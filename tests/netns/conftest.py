"""A world with services, and rules written on the spot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from builders import WriteRules
from nfsnitch.lab.services import AllServices, Services, start_all_services, start_services
from nfsnitch.lab.world import World


@pytest.fixture(name="world")
def fixture_world() -> Iterator[World]:
    with World() as world:
        yield world


@pytest.fixture(name="services")
def fixture_services(world: World) -> Services:
    return start_services(world)


@pytest.fixture(name="all_services")
def fixture_all_services(world: World) -> AllServices:
    return start_all_services(world)


@pytest.fixture(name="rules")
def fixture_rules(tmp_path: Path) -> WriteRules:
    def write(text: str) -> Path:
        path = tmp_path / "rules.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write
