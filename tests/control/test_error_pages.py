"""Pages of the operator's own: read when settings are, told of when they cannot be used."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from nodebalancer.control.error_pages import ErrorPages
from nodebalancer.control.plane import ControlPlane
from nodebalancer.errors import SettingsError
from nodebalancer.model import Settings
from nodebalancer.testing.builders import config, nodebalancer, settings
from nodebalancer.wire.answers import PAGE_BYTES_MAX, answer

WEB = "www", "web"


def wanting(directory: Path | str) -> Settings:
    return settings(nodebalancer("www", config("web", error_pages=str(directory)), config("other", port=81)))


def examined(follower: ErrorPages, wanted: Settings) -> list[str]:
    problems: list[Any] = []
    follower.examine(wanted).addCallback(problems.extend)
    return [str(problem) for problem in problems]


def follow(follower: ErrorPages, wanted: Settings) -> Any:
    """What came of it: changes, or the error."""
    results: list[Any] = []
    ControlPlane((follower,)).want(wanted).addBoth(lambda result: results.append(getattr(result, "value", result)))
    return results[0]


def page(follower: ErrorPages, status: int = 503, path: tuple[str, str] = WEB) -> bytes:
    return answer(status, date=b"now", pages=follower.pages_for(path))


def test_pages_are_those_of_the_config_and_change_with_a_reload(tmp_path: Path) -> None:
    follower = ErrorPages()
    assert b"No server is available" in page(follower)
    (tmp_path / "503.html").write_bytes(b"<p>one")
    (tmp_path / ".hidden").write_bytes(b"?")
    follow(follower, wanting(tmp_path))
    assert page(follower).endswith(b"<p>one")
    assert b"No server is available" in page(follower, path=("www", "other"))
    (tmp_path / "503.html").write_bytes(b"<p>two")
    assert page(follower).endswith(b"<p>one")
    follow(follower, wanting(tmp_path))
    assert page(follower).endswith(b"<p>two")
    follow(follower, wanting(""))
    assert b"No server is available" in page(follower)


def test_a_bad_page_changes_nothing(tmp_path: Path) -> None:
    follower = ErrorPages()
    (tmp_path / "503.html").write_bytes(b"<p>one")
    follow(follower, wanting(tmp_path))
    (tmp_path / "503.html").write_bytes(b"")
    assert isinstance(follow(follower, wanting(tmp_path)), SettingsError)
    assert page(follower).endswith(b"<p>one")


def test_examining_and_preparing_change_nothing(tmp_path: Path) -> None:
    follower = ErrorPages()
    (tmp_path / "503.html").write_bytes(b"<p>one")
    assert examined(follower, wanting(tmp_path)) == []
    follower.prepare(wanting(tmp_path), ())
    follower.abandon()
    assert b"No server is available" in page(follower)


def test_both_kinds_for_one_status_are_a_problem(tmp_path: Path) -> None:
    (tmp_path / "503.html").write_bytes(b"<p>one")
    (tmp_path / "503.http").write_bytes(b"HTTP/1.1 503 Sorry\r\n\r\nsorry")
    assert examined(ErrorPages(), wanting(tmp_path)) == [
        f"[config www/web] error_pages = {tmp_path}: 503.html and 503.http are both for 503; expected one of them"
    ]


@pytest.mark.parametrize(
    ("name", "contents", "fault"),
    [
        ("503.html", b"", "503.html: is empty"),
        ("503.htm", b"x", "503.htm: expected STATUS.http or STATUS.html, where STATUS is 400, 405, "),
        ("404.html", b"x", "404.html: expected STATUS.http or STATUS.html, where STATUS is 400, 405, "),
        ("503.http", b"<p>", "503.http: is no HTTP response"),
        ("502.html", b"x" * (PAGE_BYTES_MAX + 1000), "502.html: has more than 65536 bytes"),
    ],
)
def test_what_is_no_page_is_told_with_its_name(tmp_path: Path, name: str, contents: bytes, fault: str) -> None:
    (tmp_path / name).write_bytes(contents)
    (problem,) = examined(ErrorPages(), wanting(tmp_path))
    assert problem.startswith(f"[config www/web] error_pages = {tmp_path}: {fault}")


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    for name in ("400.html", "502.http", "readme"):
        (tmp_path / name).write_bytes(b"\xff")
    assert len(examined(ErrorPages(), wanting(tmp_path))) == 3


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "503.html")
    (tmp_path / "502.html").mkdir()
    (tmp_path / "504.html").symlink_to("nowhere")
    told = "\n".join(examined(ErrorPages(), wanting(tmp_path)))
    assert "503.html: is no ordinary file" in told
    assert "502.html: cannot be read: is a directory" in told
    assert "504.html: cannot be read: no such file or directory" in told


def test_a_directory_has_to_be_there_and_to_have_pages(tmp_path: Path) -> None:
    assert "has no pages; expected files such as 503.html or 503.http" in examined(ErrorPages(), wanting(tmp_path))[0]
    (gone,) = examined(ErrorPages(), wanting(tmp_path / "gone"))
    assert gone.endswith("cannot be read: no such file or directory; expected a directory")
    (tmp_path / "file").write_bytes(b"")
    assert "not a directory" in examined(ErrorPages(), wanting(tmp_path / "file"))[0]
