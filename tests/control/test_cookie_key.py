"""The key of cookies: made once, kept for oneself, and read again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from nodebalancer.control.cookie_key import KEY_BYTES_MAX, CookieKey
from nodebalancer.errors import Problem
from nodebalancer.model import Service, Settings, Stickiness
from nodebalancer.testing.builders import config, nodebalancer, settings

OWN_KEY = b"0123456789abcdef"


def wanted(state_dir: Path, stickiness: Stickiness = Stickiness.HTTP_COOKIE, file: Path | str = "") -> Settings:
    service = Service(state_dir=str(state_dir), cookie_key_file=str(file))
    return settings(nodebalancer("www", config("web", stickiness=stickiness)), service=service)


def problems_of(answer: Any) -> tuple[Problem, ...]:
    found: tuple[Problem, ...] = answer.result
    return found


def key_of(settings: Settings, follower: CookieKey | None = None) -> bytes:
    """What a process uses that runs these settings."""
    follower = follower or CookieKey()
    assert problems_of(follower.examine(settings)) == ()
    assert problems_of(follower.prepare(settings, ())) == ()
    follower.commit()
    return follower.key


def refusal(settings: Settings) -> str:
    """Why a process with these settings does not start; ``--check`` may not know it yet."""
    follower = CookieKey()
    [problem] = problems_of(follower.prepare(settings, ()))
    follower.abandon()
    assert follower.key == b""
    return str(problem)


def test_a_key_is_made_that_nobody_else_can_read(tmp_path: Path) -> None:
    state = tmp_path / "var/lib"
    key = key_of(wanted(state))
    assert len(key) == 64
    assert (state / "cookie.key").read_bytes() == key + b"\n"
    assert (state / "cookie.key").stat().st_mode & 0o777 == 0o600
    assert state.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in state.iterdir()] == ["cookie.key"]


def test_after_a_restart_it_is_the_same_and_elsewhere_it_is_another(tmp_path: Path) -> None:
    key = key_of(wanted(tmp_path / "a"))
    assert key_of(wanted(tmp_path / "a")) == key
    assert key_of(wanted(tmp_path / "b")) != key


def test_a_check_makes_nothing(tmp_path: Path) -> None:
    assert problems_of(CookieKey().examine(wanted(tmp_path / "state"))) == ()
    assert not (tmp_path / "state").exists()


def test_without_cookies_nothing_is_read_or_made(tmp_path: Path) -> None:
    assert key_of(wanted(tmp_path / "state", Stickiness.TABLE, tmp_path / "not there")) == b""
    assert not (tmp_path / "state").exists()


def test_a_file_of_the_operators_own_is_used_and_nothing_is_made(tmp_path: Path) -> None:
    file = tmp_path / "shared.key"
    file.write_bytes(OWN_KEY + b"\n")
    assert key_of(wanted(tmp_path / "state", file=file)) == OWN_KEY
    assert not (tmp_path / "state").exists()


def test_it_is_read_again_at_every_reload(tmp_path: Path) -> None:
    file = tmp_path / "shared.key"
    file.write_bytes(OWN_KEY)
    follower = CookieKey()
    key_of(wanted(tmp_path, file=file), follower)
    file.write_bytes(OWN_KEY[::-1])
    assert key_of(wanted(tmp_path, file=file), follower) == OWN_KEY[::-1]


def test_ours_is_read_once_since_we_may_have_dropped_the_right_to(tmp_path: Path) -> None:
    follower = CookieKey()
    key = key_of(wanted(tmp_path), follower)
    (tmp_path / "cookie.key").unlink()
    assert key_of(wanted(tmp_path, Stickiness.NONE), follower) == key
    assert key_of(wanted(tmp_path), follower) == key
    assert not (tmp_path / "cookie.key").exists()
    assert key_of(wanted(tmp_path / "another"), follower) != key


@pytest.mark.parametrize("problems_in", [CookieKey.examine, lambda own, wanted: own.prepare(wanted, ())])
def test_a_file_that_is_named_has_to_be_there(tmp_path: Path, problems_in: Any) -> None:
    file = tmp_path / "not there"
    [problem] = problems_of(problems_in(CookieKey(), wanted(tmp_path, file=file)))
    assert str(problem) == f"[service]: cookie_key_file: {file}: No such file or directory"
    assert problem.spot == ("service", "cookie_key_file")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "has 0 bytes; a key has 16 to 4096"),
        (b" 0123456789abcde\n", "has 15 bytes; a key has 16 to 4096"),
        (bytes(KEY_BYTES_MAX + 1), "has more than 4096 bytes"),
    ],
)
def test_what_is_no_key_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    file = tmp_path / "shared.key"
    file.write_bytes(content)
    assert refusal(wanted(tmp_path, file=file)) == f"[service]: cookie_key_file: {file} {told}"


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    for named in ("shared.key", ""):
        fifo = tmp_path / (named or "cookie.key")
        os.mkfifo(fifo)
        assert f"{fifo} is no ordinary file" in refusal(wanted(tmp_path, file=tmp_path / named if named else ""))


def test_a_place_where_no_key_can_be_made_is_refused_with_why_one_is_needed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert refusal(wanted(tmp_path / "file/state")) == (
        f"[service]: state_dir: {tmp_path}/file/state/cookie.key: Not a directory; stickiness http_cookie keeps its key there"
    )


def test_a_full_disk_leaves_nothing_that_looks_like_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        assert f"state_dir: {tmp_path}: No space left on device" in refusal(wanted(tmp_path))
    assert list(tmp_path.iterdir()) == []
    assert key_of(wanted(tmp_path))


def test_of_two_processes_that_start_at_once_the_first_ones_key_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def come_second(name: str, file: Path) -> None:
        file.write_bytes(OWN_KEY)
        link(name, file)

    monkeypatch.setattr(os, "link", come_second)
    assert key_of(wanted(tmp_path)) == OWN_KEY
    assert [path.name for path in tmp_path.iterdir()] == ["cookie.key"]
