"""What every proof gets: a place for its figures."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

Tell = Callable[[str], None]


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Tell:
    """Prints figures, also when the test passes: they belong into the closing note of whoever ran it."""

    def told(figures: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{figures}")
            sys.stdout.flush()

    return told
