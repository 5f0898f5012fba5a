"""The demo, as a newcomer meets it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from websockets.sync.client import connect

from nodebalancer.testing.nodes import Program, curl, twistd_command, twistd_environment, wait_until

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    directory = tmp_path_factory.mktemp("demo")
    argv = twistd_command("-n", "--pidfile=", "nodebalancer", "--demo")
    with Program(argv, directory, "demo", environment=twistd_environment()) as demo:
        wait_until(lambda: "Control-C" in demo.output or not demo.running, "the welcome")
        assert demo.running, demo.output
        yield demo
        assert demo.stop() == 0
        assert "Traceback" not in demo.output


@pytest.fixture
def urls(demo: Program) -> list[str]:
    """The HTTP config's and the TCP config's address, as printed."""
    return re.findall(r"^  (http://\S+/)  ", demo.output, re.MULTILINE)


def test_the_line_to_type_works_and_nodes_take_turns(demo: Program, urls: list[str]) -> None:
    [command] = re.findall(r"^  curl (\S+)$", demo.output, re.MULTILINE)
    assert command == urls[0]
    answers = [curl(command) for _ in range(6)]
    assert sorted(answer.split()[0] for answer in answers) == sorted(["demo-1", "demo-2", "demo-3"] * 2)
    assert all("X-Forwarded-For: 127.0.0.1\n" in answer for answer in answers)


def test_over_https_nodes_are_told(demo: Program) -> None:
    [url] = re.findall(r"^  curl -k (https://\S+)$", demo.output, re.MULTILINE)
    answer = curl("-k", url)
    assert answer.startswith("demo-")
    assert "X-Forwarded-Proto: https\n" in answer


def test_over_tcp_the_bytes_pass_unchanged(urls: list[str]) -> None:
    answer = curl(urls[1])
    assert answer.startswith("demo-")
    assert "X-Forwarded-For" not in answer


@pytest.mark.parametrize("config", [0, 1])
def test_the_paths_it_names_answer(urls: list[str], config: int) -> None:
    url = urls[config]
    assert curl("-o", "/dev/null", "-w", "%{http_code}", f"{url}status/404") == "404"
    assert curl("-o", "/dev/null", "-w", "%{size_download}", f"{url}bytes/3000000") == "3000000"
    assert "and a body of 5 bytes" in curl("-d", "hello", url)


def test_the_chat_is_a_page_and_a_websocket(urls: list[str]) -> None:
    """Which is what a browser does with it."""
    assert "new WebSocket(" in curl(f"{urls[0]}chat")
    with connect(f"{urls[0]}chat".replace("http", "ws", 1), proxy=None) as client:
        assert re.fullmatch(r"demo-\d: welcome, you are one of 1 here", str(client.recv()))
        client.send("good morning")
        assert client.recv() == "good morning"
