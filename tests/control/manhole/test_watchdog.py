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
from nodebalancer.control.manhole.watchdog import FILENAME, LATE, Interrupted, Watchdog, watched

SHORT = 0.05


@pytest.fixture(autouse=True)
def is_restored() -> Iterator[None]:
    before = signal.getsignal(signal.SIGALRM), sys.gettrace()
    yield
    assert (signal.getsignal(signal.SIGALRM), sys.gettrace()) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def run(source: str, **names: Any) -> dict[str, Any]:
    """Run a statement as a shell does; what it has assigned."""
    dog = Watchdog(SHORT)
    names[LATE] = dog.late
    with dog.watching():
        exec(watched(source), names)
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


LONG = "for i in range(10**6): x = str(i) + str(i)"
"""Takes longer than a statement may, so that it is in here that it is interrupted."""


def elsewhere(source: str) -> str:
    """A statement that runs code from elsewhere."""
    return f"exec({source!r}, globals())"


@pytest.mark.parametrize(
    "source",
    [
        f"while True:\n  try:\n    {LONG}\n  except:\n    pass",
        f"while True:\n  try:\n    {LONG}\n  except BaseException: continue",
        f"while True:\n  try:\n    {LONG}\n  except BaseException as e:\n    kept.append(e)",
        f"while True:\n  try:\n    while True:\n      try:\n        {LONG}\n      except: pass\n  except: pass",
        f"while True:\n  try:\n    {LONG}\n  finally:\n    continue",
        f"try:\n  while True:\n    try:\n      {LONG}\n    finally: continue\nfinally:\n  while True:\n    try:\n      {LONG}\n    except: pass",
        f"import contextlib\nwhile True:\n  with contextlib.suppress(BaseException):\n    {LONG}",
        f"def g():\n  while True:\n    try:\n      {LONG}\n      yield 1\n    except: pass\nsum(g())",
        f"def f(n):\n  try:\n    {LONG}\n  except: pass\n[f(n) for n in iter(int, 1)]",
        f"def f(n):\n  'Is called for ever.'\n  try:\n    {LONG}\n  except: pass\nlist(map(f, iter(int, 1)))",
        f"def f():\n  try:\n    {LONG}\n    f()\n  except:\n    f()\nf()",
        elsewhere(f"while True:\n  try:\n    {LONG}\n  except:\n    pass"),
        "while True:\n  try:\n    "
        + elsewhere(f"while True:\n  try:\n    {LONG}\n  except:\n    pass")
        + "\n  except: pass",
        elsewhere(f"def f():\n  try:\n    {LONG}\n  except: pass\nwhile True: f()"),
        elsewhere("def call(g):\n  while True:\n    try: g()\n    except: pass") + f"\ndef g():\n  {LONG}\ncall(g)",
    ],
)
def test_a_statement_that_catches_everything_ends_all_the_same(source: str) -> None:
    began = time.monotonic()
    with pytest.raises(Interrupted):
        run(source, kept=[])
    assert time.monotonic() - began < 10


def test_what_a_statement_has_to_tidy_up_is_tidied_up() -> None:
    steps: list[int] = []
    source = f"while True:\n  try:\n    try:\n      {LONG}\n    finally:\n      steps.append(1)\n      steps.append(2)\n  except: pass"
    with pytest.raises(Interrupted):
        run(source, steps=steps)
    assert steps[:2] == [1, 2]
    assert len(steps) % 2 == 0


def test_what_is_defined_in_a_statement_that_was_interrupted_can_be_used_in_the_next() -> None:
    dog = Watchdog(SHORT)
    names: dict[str, Any] = {LATE: dog.late}
    with pytest.raises(Interrupted), dog.watching():
        exec(watched("def f():\n  'Counts.'\n  return sum(1 for _ in range(3))\nwhile True: f()"), names)
    assert names["f"]() == 3
    assert names["f"].__doc__ == "Counts."


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


def test_what_others_have_to_tidy_up_is_tidied_up() -> None:
    steps: list[int] = []
    loop = f"while True:\n  try:\n    {LONG}\n  except: pass\n  finally:\n    steps.append(1)\n    steps.append(2)"
    with pytest.raises(Interrupted):
        run(f"exec({loop!r})", steps=steps)
    assert steps
    assert len(steps) % 2 == 0


def test_only_functions_of_statements_are_traced_for_their_next_line() -> None:
    frames: list[Any] = []
    exec(compile("frames.append(sys._getframe())", FILENAME, "exec"), {"frames": frames, "sys": sys})
    assert watchdog.at_next_line(sys._getframe(), "call", None) is None
    assert watchdog.at_next_line(frames[0], "call", None) is watchdog.at_next_line
    assert watchdog.where_nothing_catches(frames[0], "call", None) is None


def test_code_from_elsewhere_is_interrupted_only_where_it_would_not_catch_it() -> None:
    at_this_line = "at(sys._getframe(), 'line', None)"
    names = {"at": watchdog.where_nothing_catches, "sys": sys}
    with pytest.raises(Interrupted):
        run(elsewhere(f"def bare(): return {at_this_line}") + "\nbare()", **names)
    for catching in ("try: at_this_line\n  finally: pass", "with open('/dev/null'): at_this_line"):
        source = f"def f():\n  {catching}\n  steps.append(1)".replace("at_this_line", at_this_line)
        steps: list[int] = []
        run(elsewhere(source) + "\nf()", steps=steps, **names)
        assert steps == [1]
    assert watchdog.where_nothing_catches(sys._getframe(), "line", None) is watchdog.where_nothing_catches


def test_code_from_elsewhere_that_ours_has_called_is_left_alone() -> None:
    steps: list[int] = []

    def tidy(steps: list[int]) -> None:
        for _ in range(3):
            time.sleep(0.03)
            steps.append(1)

    def call(function: Callable[[list[int]], None], steps: list[int]) -> None:
        function(steps)
        steps.append(2)

    with pytest.raises(Interrupted):
        run("try:\n  while True: pass\nfinally: call(tidy, steps)", call=ours(call), tidy=tidy, steps=steps)
    assert steps == [1, 1, 1, 2]
