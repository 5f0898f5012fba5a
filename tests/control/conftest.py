"""What several of these tests need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nodebalancer.testing.logs import logged


@pytest.fixture
def log_lines() -> Iterator[list[str]]:
    """What is logged, as people read it."""
    with logged("") as lines:
        yield lines
