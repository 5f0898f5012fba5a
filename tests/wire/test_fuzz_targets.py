"""What ``make fuzz`` looks for with much time, looked for with little; and that its targets still run."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

FUZZ = Path(__file__).parents[1] / "fuzz"


def target(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FUZZ / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REQUEST, RESPONSE = target("fuzz_request"), target("fuzz_response")


@settings(max_examples=300)
@given(st.binary(max_size=40), st.sampled_from([REQUEST.check, RESPONSE.check]))
def test_what_must_hold_of_every_input_holds(data: bytes, check: Callable[[bytes], None]) -> None:
    check(data)
    check(b"\x80" + data)
    check(b"\x80\x84" + data + b"\x8a")


def spelling(module: ModuleType, *words: bytes) -> bytes:
    """What is spelt as these words."""
    codes = {module.WORDS[code % len(module.WORDS)]: code for code in range(128, 256)}
    return b"".join(bytes((codes[word],)) if word in codes else word for word in words)


def test_the_targets_see_whole_messages() -> None:
    """A check that never got past the head would look at nothing."""
    request = spelling(
        REQUEST,
        b"POST /a?b HTTP/1.1\r\n",
        b"Host: a\r\n",
        b"Transfer-Encoding",
        b": ",
        b"chunked",
        b"\r\n\r\n",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
    )
    assert REQUEST.forwarded([REQUEST.spelt(request)]).endswith(b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    response = spelling(RESPONSE, b"HTTP/1.1 200 OK\r\n", b"Content-Length: 5\r\n", b"\r\n", b"hello", b"\x00")
    assert RESPONSE.passed([RESPONSE.spelt(response)], RESPONSE.REQUESTS[0]).endswith(b"\r\n\r\nhello")


def test_the_targets_would_tell_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    request = spelling(REQUEST, b"GET / HTTP/1.1\r\n", b"Host: a\r\n", b"\r\n")
    REQUEST.check(request)
    monkeypatch.setattr(REQUEST.FORWARDING, "_ending", b"X-Forwarded-For: me\r\n\r\n")
    with pytest.raises(AssertionError):
        REQUEST.check(request)
    response = spelling(
        RESPONSE, b"HTTP/1.1 200 OK\r\n", b"Transfer-Encoding: chunked\r\n", b"\r\n", b"0\r\n\r\n", b"\x00", b"\x00"
    )
    RESPONSE.check(response)
    monkeypatch.setattr(RESPONSE, "LAST_CHUNK", b"0\r\n")
    with pytest.raises(h11.RemoteProtocolError):
        RESPONSE.check(response)
