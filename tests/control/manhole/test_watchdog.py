"""A statement that takes too long is interrupted, and only in its own code."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import pytest

from nodebalancer.control.manhole import watchdog
from nodebalancer.control.manhole.watchdog import FILENAME, Interrupted, Watchdog

SHORT = 0.05


@pytest.fixture(autouse=True)
def is_restored() -> Iterator[None]:
    before = signal.getsignal(signal.SIGALRM), sys.gettrace()
    yield
    assert (signal.getsignal(signal.SIGALRM), sys.gettrace()) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def run(source: str, **names: Any) -> dict[str, Any]:
    """Run a statement as a shell does; what it has assigned."""
    with Watchdog(SHORT).watching():
        exec(compile(source, FILENAME, "exec"), names)
    return names


@pytest.mark.parametrize(
    "source",
    [
        "while True: pass",
        "while True:\n    try: pass\n    except Exception: pass",
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        "def f():\n    while True: pass\nf()",
        "import time; time.sleep(60)",
        "sum(1 for _ in iter(int, 1))",
        "import subprocess; subprocess.run(['sleep', '60'])",
    ],
)
def test_a_statement_without_end_ends(source: str) -> None:
    began = time.monotonic()
    with pytest.raises(Interrupted):
        run(source)
    assert time.monotonic() - began < 10


def test_a_statement_in_time_is_left_alone_and_so_is_what_comes_after_it() -> None:
    assert run("x = 1 + 1")["x"] == 2
    time.sleep(2 * SHORT)


def ours(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` as code of the balancer's, called by a statement."""
    globals_ = {"__name__": "nodebalancer.something", "time": time}
    assert isinstance(function, FunctionType)
    return FunctionType(function.__code__, globals_, closure=function.__closure__)


def slow(steps: list[int]) -> None:
    steps.append(1)
    end = time.monotonic() + 0.2
    while time.monotonic() < end:
        pass
    steps.append(2)


def test_our_own_code_comes_to_its_end_first_and_the_statement_does_not_get_to_its_next_line() -> None:
    steps: list[int] = []
    with pytest.raises(Interrupted):
        run("slow(steps)\nsteps.append(3)", slow=ours(slow), steps=steps)
    assert steps == [1, 2]


def test_a_loop_around_our_own_code_ends_though_nearly_all_its_time_is_spent_there() -> None:
    steps: list[int] = []
    with pytest.raises(Interrupted):
        run("while True: slow(steps)", slow=ours(slow), steps=steps)
    assert steps == [1, 2]


def test_a_function_of_the_statement_that_our_code_calls_back_is_interrupted() -> None:
    def call(function: Callable[[], None], seen: list[type[BaseException]]) -> None:
        try:
            function()
        except BaseException as e:
            seen.append(type(e))
            raise

    seen: list[type[BaseException]] = []
    with pytest.raises(Interrupted):
        run("def f():\n    while True: pass\ncall(f, seen)", call=ours(call), seen=seen)
    assert seen == [Interrupted]


def test_an_alarm_when_no_statement_runs_is_of_no_account() -> None:
    with Watchdog(SHORT).watching():
        time.sleep(3 * SHORT)


def test_functions_of_others_are_not_traced() -> None:
    assert watchdog.trace_nothing(sys._getframe(), "call", None) is None
    frames: list[Any] = []
    exec(compile("frames.append(sys._getframe())", FILENAME, "exec"), {"frames": frames, "sys": sys})
    assert watchdog.trace_nothing(frames[0], "call", None) is watchdog.interrupt
