"""The end-to-end tests on Debian's kernels, in every attach mode, with their own nft queue."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vm.session import GuestSession, Wanted
from ways.cells import keep

pytestmark = [pytest.mark.vm, pytest.mark.slow, pytest.mark.timeout(0)]


def test_in_a_guest(
    guests: Callable[[str], GuestSession],
    record_property: Callable[[str, object], None],
    line: str,
    wanted: Wanted,
) -> None:
    result = guests(line).result(wanted)

    record_property("seconds_in_guest", result.seconds)
    keep(result.cells)
    if result.outcome != "passed":
        what = f"{result.outcome} on kernel {line} in mode {wanted.mode}: {wanted.nodeid}"
        pytest.fail(f"{what}\n{result.text}", pytrace=False)
