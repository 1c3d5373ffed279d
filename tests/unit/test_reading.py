"""Files of which nobody knows how long they are."""

from __future__ import annotations

import io
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from nfsnitch.adapters.reading import at_most


@given(st.integers(0, 200_000), st.integers(0, 200_000))
def test_as_much_is_read_as_there_is_and_as_is_allowed(length: int, limit: int) -> None:
    content = bytes(length)

    assert at_most(io.BytesIO(content), limit) == content[:limit]


def test_a_high_limit_takes_no_memory_that_a_short_file_does_not_need() -> None:
    tracemalloc.start()
    at_most(io.BytesIO(b"short"), 1 << 30)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 1 << 20
