"""Lines are heard while they are listened to, and only those asked for."""

from __future__ import annotations

from twisted.logger import Logger

from nodebalancer.testing.logs import logged


def test_lines_are_heard_from_the_beginning_to_the_end() -> None:
    log = Logger()
    log.info("[a] before")
    with logged() as lines:
        log.info("[a] {what}", what="during")
        log.info("something else")
    log.info("[a] after")
    assert lines == ["[a] during"]


def test_the_beginning_may_be_another() -> None:
    with logged("some") as lines:
        Logger().info("something else")
        Logger().info("[a]")
    assert lines == ["something else"]
