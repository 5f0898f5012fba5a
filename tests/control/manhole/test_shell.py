"""Statements, and the ways to type them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.task import Clock

from nodebalancer.control.manhole.shell import (
    BANNER,
    LINE_BYTES_MAX,
    Pipe,
    Shell,
    Terminal,
    at_once,
    terminal_over,
    usage,
)
from nodebalancer.control.manhole.verbs import VERBS, Verbs
from nodebalancer.control.manhole.watchdog import Watchdog


class Shelled:
    """A shell, and what it has said."""

    def __init__(self, lb: Any) -> None:
        self.said: list[str] = []
        self.left = 0
        verbs = Verbs(lb.subject, "anna", usage)
        self.shell = Shell(verbs, lb.subject.objects, self.said.append, self.leave, Watchdog(0.05))

    def leave(self) -> None:
        self.left += 1

    def __call__(self, *lines: str) -> str:
        for line in lines:
            self.more = self.shell.push(line)
        said = "".join(self.said)
        self.said.clear()
        return said


@pytest.fixture
def shell(lb: Any) -> Shelled:
    return Shelled(lb)


@pytest.fixture(autouse=True)
def standard_output_is_restored() -> Iterator[None]:
    before = sys.stdout, sys.displayhook
    yield
    assert (sys.stdout, sys.displayhook) == before


def test_an_expression_is_shown_and_remembered(shell: Shelled) -> None:
    assert shell("1 + 1") == "2\n"
    assert shell("_ * 2") == "4\n"
    assert shell("None", "x = 3") == ""
    assert shell("print(x, flush=True)") == "3\n"


def test_a_statement_of_several_lines_is_run_when_it_is_whole(shell: Shelled) -> None:
    assert shell("for i in range(2):", "    print(i)") == ""
    assert shell.more
    assert shell("") == "0\n1\n"
    assert not shell.more


def test_what_is_begun_can_be_dropped(shell: Shelled) -> None:
    shell("if True:")
    shell.shell.forget()
    assert shell("7") == "7\n"


def test_what_a_statement_raises_is_shown_without_our_own_part_of_the_stack(shell: Shelled) -> None:
    assert shell("1/0") == (
        'Traceback (most recent call last):\n  File "<manhole>", line 1, in <module>\nZeroDivisionError: division by zero\n'
    )
    assert shell("raise KeyboardInterrupt").endswith("KeyboardInterrupt\n")
    assert shell("x = (") + shell("1 2)") != ""
    assert "SyntaxError" in shell("a b")
    assert "null bytes" in shell("'\0'")


def test_a_statement_without_end_is_interrupted(shell: Shelled) -> None:
    assert shell("while True: pass", "") == "interrupted: a statement may take 1 s, traffic waits for it\n"
    assert shell("'alive'") == "'alive'\n"


def test_a_statement_that_catches_all_that_interrupts_it_is_interrupted(shell: Shelled) -> None:
    lines = "while True:", "  try:", "    for i in range(10**6): x = str(i)", "  except:", "    pass", ""
    assert shell(*lines).startswith("interrupted: ")


def test_lines_that_are_no_statement_or_too_much_of_one_cost_nothing_else(shell: Shelled) -> None:
    assert shell("# nothing", "") == ""
    assert "Error" in shell("-" * 20_000 + "1")
    assert shell("'alive'") == "'alive'\n"


def test_what_is_imported_from_the_future_stays(shell: Shelled) -> None:
    lines = "from __future__ import annotations", "def f(x: nowhere): pass", "", "f.__annotations__"
    assert shell(*lines) == "{'x': 'nowhere'}\n"


@pytest.mark.parametrize("line", ["exit()", "quit()", "raise SystemExit", "import sys; sys.exit(3)"])
def test_to_leave_is_to_leave_the_shell_and_not_to_end_the_service(shell: Shelled, line: str) -> None:
    assert shell(line) == ""
    assert shell.left == 1


def test_verbs_answer_at_once_and_their_answers_are_values(shell: Shelled, lb: Any) -> None:
    assert shell("nodes()").startswith("NODE  ")
    assert shell("[node.weight for node in nodes()]") == "[50, 100]\n"
    assert shell('drain("www/main/n1")') == "www/main/n1: mode drain (was accept), 0 open connections\n"
    assert "mode=drain" in lb.ini.read_text()
    assert shell("here is here") == "True\n"
    help_ = shell("help()")
    assert all(f"\n{verb}(" in help_ for verb in VERBS)
    assert "drain(node, wait=0)" in help_


def test_a_verb_that_cannot_says_why_in_a_sentence(shell: Shelled) -> None:
    assert shell('weight("www/main/n1", 0)') == "weight 0: not between 1 and 255\n"
    assert shell('drain("x")') == "x: there is no such node; expected NODEBALANCER/CONFIG/NODE\n"


def test_an_answer_that_takes_time_is_shown_when_it_is_there(shell: Shelled, lb: Any, clock: Clock) -> None:
    client = lb.client()
    assert shell('drain("www/main/n1", wait=60)') == "this takes some time; the answer will be printed\n"
    client.reset()
    lb.network.pump()
    clock.advance(1)
    assert shell() == "www/main/n1: mode drain (was accept), 0 open connections\n"


def test_an_answer_that_takes_time_may_be_a_refusal_or_nothing(shell: Shelled, lb: Any, clock: Clock) -> None:
    lb.client()
    shell('drain("www/main/n1", wait=1)')
    clock.pump([0.2] * 6)
    assert shell() == "www/main/n1: 1 open connection still, after 1 second\n"
    shell('d = drain("www/main/n1", wait=1)', "d")
    assert shell("d.cancel()") == ""
    shell("from twisted.internet.defer import Deferred; d = Deferred()", "d")
    assert "ZeroDivisionError" in shell("d.errback(ZeroDivisionError())")


def test_a_deferred_that_has_its_result_is_shown_like_any_value(shell: Shelled) -> None:
    assert shell("from twisted.internet.defer import succeed; succeed(3)").startswith("<Deferred at")


def test_what_would_steer_a_terminal_is_shown_instead(shell: Shelled) -> None:
    assert shell(r"print('\x1b[31m\x07\x9b ü\t|')") == "\\x1b[31m\\x07\\x9b ü\t|\n"


def test_output_that_cannot_be_written_ends_the_statement(lb: Any) -> None:
    said: list[str] = []

    def write(text: str) -> None:
        said.append(text)
        if len(said) == 5:
            raise BrokenPipeError

    shell = Shell(Verbs(lb.subject, "", usage), {}, write, lambda: None, Watchdog(60))
    shell.push("while True: print('x', end='')")
    shell.push("")
    assert said[:5] == ["x"] * 5
    assert "BrokenPipeError" in "".join(said[5:])


def test_a_verb_keeps_its_name_and_help(lb: Any) -> None:
    drain = at_once(Verbs(lb.subject, "", usage).drain)
    assert (drain.__name__, (drain.__doc__ or "")[:13]) == ("drain", "Give a node n")


def test_a_pipe_has_lines_and_an_end() -> None:
    lines: list[bytes] = []
    out: list[bytes] = []

    def push(line: bytes) -> bool:
        lines.append(line)
        return False

    pipe = Pipe(push, out.append)
    for data in (b"on", b"e\n", b"two\n", b"rest"):
        pipe.dataReceived(data)
    pipe.finished()
    pipe.show("ü")
    assert (lines, out) == ([b"one", b"two", b"rest", b""], ["ü".encode()])
    with pytest.raises(ValueError, match="too long"):
        pipe.dataReceived(b"x" * (LINE_BYTES_MAX + 1))


class Typed:
    """A terminal and somebody who types."""

    def __init__(self, push: Callable[[bytes], bool]) -> None:
        self.out = b""
        self.forgotten = self.left = 0
        self.terminal = Terminal(push, self.forget, self.leave)
        self.server: Any = terminal_over(self.write, self.terminal)

    def write(self, data: bytes) -> None:
        self.out += data

    def forget(self) -> None:
        self.forgotten += 1

    def leave(self) -> None:
        self.left += 1

    def __call__(self, keys: bytes) -> bytes:
        self.out = b""
        self.server.dataReceived(keys)
        return self.out


@pytest.fixture
def lines() -> list[bytes]:
    return []


@pytest.fixture
def typed(lines: list[bytes]) -> Typed:
    def push(line: bytes) -> bool:
        lines.append(line)
        somebody.terminal.show(f"<{line.decode()}>\n")
        return line.endswith(b":")

    somebody = Typed(push)
    return somebody


def test_a_terminal_begins_with_a_sentence_and_a_prompt(typed: Typed) -> None:
    assert typed.out == BANNER.encode().replace(b"\n", b"\r\n") + b">>> \x1b[4h"


def test_a_line_is_run_and_the_prompt_comes_back(typed: Typed, lines: list[bytes]) -> None:
    assert typed(b"ab\r").endswith(b"<ab>\r\n>>> ")
    assert typed(b"if x:\r").endswith(b"... ")
    assert lines == [b"ab", b"if x:"]


def test_lines_can_be_edited_and_come_back_from_history(typed: Typed, lines: list[bytes]) -> None:
    typed(b"ax\x7fb\x01c\x05d\r")
    typed(b"\x1b[A\r")
    assert lines == [b"cabd", b"cabd"]


def test_keys_without_meaning_and_too_many_are_passed_over(typed: Typed, lines: list[bytes]) -> None:
    typed(b"\x02\xc3\xbc\x1b[15~a\x1b[99Zb\x1bO!\r")
    assert lines == [b"ab"]
    typed.terminal.lineBuffer = [b"x"] * LINE_BYTES_MAX
    typed(b"y")
    assert len(typed.terminal.lineBuffer) == LINE_BYTES_MAX


def test_what_is_typed_can_be_dropped(typed: Typed, lines: list[bytes]) -> None:
    typed(b"if x:\r")
    assert typed(b"ab\x03").endswith(b">>> ")
    assert typed.forgotten == 1
    typed(b"\r")
    assert lines == [b"if x:", b""]


def test_the_end_of_input_leaves_only_from_an_empty_line(typed: Typed) -> None:
    typed(b"a\x04")
    assert typed.left == 0
    typed(b"\x7f\x04")
    assert typed.left == 1
    typed.terminal.restore()
    assert typed.out.endswith(b"\x1b[4l")


def test_the_screen_can_be_cleared_and_what_is_typed_stays(typed: Typed) -> None:
    assert typed(b"ab\x0c").endswith(b">>> ab")
    typed.terminal.resized(200, 50)
    assert typed.terminal.width == 200


def test_what_comes_between_two_lines_moves_what_is_typed_below_it(typed: Typed) -> None:
    typed(b"ab")
    typed.out = b""
    typed.terminal.show("done\n")
    assert typed.out == b"\r\x1b[2Kdone\r\n>>> ab"


def test_a_terminal_keeps_its_wire(typed: Typed) -> None:
    typed.server.transport.loseConnection()
    assert typed.left == 0
