"""What names mean."""

from __future__ import annotations

import pytest

from nodebalancer.wire.http1.fields import Reader, Reading, imitates, spellings


@pytest.mark.parametrize(
    "name", [b"X_Forwarded_For", b"x-forwarded_anything", b"x.real.ip", b"CONTENT_LENGTH", b"Host"]
)
def test_a_name_that_a_node_may_take_for_ours_imitates_it(name: bytes) -> None:
    assert imitates(name)


@pytest.mark.parametrize("name", [b"X_Custom", b"my_host", b"Forward_ed", b"Content_Type"])
def test_other_names_imitate_nothing(name: bytes) -> None:
    assert not imitates(name)


def test_a_table_knows_the_usual_spellings() -> None:
    table: dict[bytes, Reader[Reading] | None] = spellings({}, [b"ETag"])
    assert table[b"ETag"] is table[b"etag"] is None
    assert table[b"TE"] is table[b"te"] is not None
    assert b"ETAG" not in table
