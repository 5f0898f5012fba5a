"""All followers change together, or none does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed

from nodebalancer.changes import Change, plan
from nodebalancer.control.plane import ControlPlane
from nodebalancer.errors import Problem, SettingsError
from nodebalancer.model import NOTHING, Settings
from nodebalancer.testing.builders import config, nodebalancer, settings

ONE = settings(nodebalancer("one", config()))
TWO = settings(nodebalancer("two", config()))
TAKEN = Problem("[config one/web] port = 80", "taken")
ABSENT = Problem("[config one/web] ssl_cert", "no such file")


class Follower:
    """Writes down what it is asked in a list it shares with others, and answers as told.

    Args:
        answers: By verb: what to return (Deferreds as they are), an exception to raise, or a callable that makes the
            answer. Default: no problem.
    """

    def __init__(self, name: str, asked: list[str], **answers: Any) -> None:
        self.name = name
        self.asked = asked
        self.answers = answers
        self.changes: tuple[Change, ...] | None = None

    def examine(self, wanted: Settings) -> Deferred[tuple[Problem, ...]]:
        return self._answer("examine", ())

    def prepare(self, wanted: Settings, changes: tuple[Change, ...]) -> Deferred[tuple[Problem, ...]]:
        self.changes = changes
        return self._answer("prepare", ())

    def commit(self) -> Deferred[None]:
        return self._answer("commit", None)

    def abandon(self) -> Deferred[None]:
        return self._answer("abandon", None)

    def _answer(self, verb: str, default: Any) -> Deferred[Any]:
        self.asked.append(f"{self.name} {verb}")
        answer = self.answers.get(verb, default)
        if callable(answer):
            answer = answer()
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Deferred) else succeed(answer)


def plane_of(*answers: dict[str, Any]) -> tuple[ControlPlane, list[str], list[Follower]]:
    """A plane with followers named a, b, … that answer so; what they are asked; and themselves."""
    asked: list[str] = []
    followers = [Follower(name, asked, **each) for name, each in zip("abc", answers, strict=False)]
    return ControlPlane(followers), asked, followers


def results(deferred: Deferred[Any]) -> list[Any]:
    """What it fired with, or the exception it failed with, as soon as it has; until then nothing."""
    seen: list[Any] = []
    deferred.addBoth(lambda got: seen.append(getattr(got, "value", got)))
    return seen


def result(deferred: Deferred[Any]) -> Any:
    """What it fired with, or the exception it failed with; it has to have fired."""
    (got,) = results(deferred)
    return got


EXAMINED = ["a examine", "b examine", "c examine"]
PREPARED = ["a prepare", "b prepare", "c prepare"]
COMMITTED = ["a commit", "b commit", "c commit"]


def test_a_change_goes_from_examine_over_prepare_to_commit_at_once() -> None:
    """With followers that answer at once a start-up is over when ``want`` returns."""
    plane, asked, followers = plane_of({}, {}, {})
    assert plane.current is NOTHING
    changes = plan(NOTHING, ONE)
    assert result(plane.want(ONE)) == changes
    assert asked == EXAMINED + PREPARED + COMMITTED
    assert [follower.changes for follower in followers] == [changes] * 3
    assert plane.current is ONE


def test_the_next_change_leads_from_what_was_committed() -> None:
    plane, _, (follower,) = plane_of({})
    result(plane.want(ONE))
    assert result(plane.want(TWO)) == follower.changes == plan(ONE, TWO)


def test_the_same_settings_again_are_followed_again() -> None:
    """A reload of an unchanged file still lets followers look at the files it names."""
    plane, asked, (follower,) = plane_of({})
    result(plane.want(ONE))
    asked.clear()
    assert result(plane.want(settings(nodebalancer("one", config())))) == ()
    assert asked == ["a examine", "a prepare", "a commit"]
    assert follower.changes == ()


def test_all_problems_that_can_be_seen_are_told_and_nothing_is_touched() -> None:
    plane, asked, _ = plane_of({"examine": (TAKEN,)}, {}, {"examine": (ABSENT,)})
    error = result(plane.want(ONE))
    assert isinstance(error, SettingsError)
    assert error.problems == (TAKEN, ABSENT)
    assert asked == EXAMINED
    assert plane.current is NOTHING


def test_checking_examines_and_does_no_more() -> None:
    """``--check`` opens no socket and runs beside a change."""
    plane, asked, _ = plane_of({"examine": (TAKEN,)}, {}, {"examine": (ABSENT,)})
    assert result(plane.examine(ONE)) == (TAKEN, ABSENT)
    assert asked == EXAMINED


@pytest.mark.parametrize("answer", [(TAKEN,), ValueError("broken"), lambda: fail(ValueError("broken"))])
def test_who_cannot_prepare_makes_all_that_were_asked_abandon(answer: Any) -> None:
    """A port that is taken, or a fault of ours, leaves what ran before as it was."""
    plane, asked, _ = plane_of({}, {"prepare": answer}, {})
    error = result(plane.want(ONE))
    assert isinstance(error, SettingsError if isinstance(answer, tuple) else ValueError)
    assert asked == [*EXAMINED, "a prepare", "b prepare", "b abandon", "a abandon"]
    assert plane.current is NOTHING


def test_who_cannot_even_abandon_keeps_nobody_else_from_it(logged_errors: Callable[[], list[Any]]) -> None:
    plane, asked, _ = plane_of({}, {"abandon": ValueError("worse")}, {"prepare": (TAKEN,)})
    error = result(plane.want(ONE))
    assert isinstance(error, SettingsError)
    assert error.problems == (TAKEN,)
    assert asked[-3:] == ["c abandon", "b abandon", "a abandon"]
    assert [event["log_failure"].type for event in logged_errors()] == [ValueError]


@pytest.mark.parametrize("answer", [ValueError("broken"), lambda: fail(ValueError("broken"))])
def test_an_examination_that_fails_touches_nothing(answer: Any) -> None:
    plane, asked, _ = plane_of({}, {"examine": answer}, {})
    assert isinstance(result(plane.want(ONE)), ValueError)
    assert asked == ["a examine", "b examine"]


def test_a_commit_that_fails_leaves_nobody_behind(logged_errors: Callable[[], list[Any]]) -> None:
    """A fault of ours in one follower is told, and the others still do what was wanted."""
    plane, asked, _ = plane_of({}, {"commit": ValueError("broken")}, {"commit": KeyError("too")})
    assert isinstance(result(plane.want(ONE)), ValueError)
    assert asked[-3:] == COMMITTED
    assert plane.current is ONE
    assert [event["log_failure"].type for event in logged_errors()] == [ValueError, KeyError]


@pytest.mark.parametrize(("verb", "until", "answer"), [("examine", 2, ()), ("prepare", 5, ()), ("commit", 8, None)])
def test_each_step_waits_for_the_answer(verb: str, until: int, answer: Any) -> None:
    """A follower in another process may take its time."""
    late: Deferred[Any] = Deferred()
    plane, asked, _ = plane_of({}, {verb: late}, {})
    done = results(plane.want(ONE))
    assert asked == (EXAMINED + PREPARED + COMMITTED)[:until]
    assert done == []
    assert plane.current is NOTHING
    late.callback(answer)
    assert done == [plan(NOTHING, ONE)]
    assert asked == EXAMINED + PREPARED + COMMITTED


def test_a_change_is_over_only_when_all_have_abandoned() -> None:
    late: Deferred[None] = Deferred()
    plane, _, _ = plane_of({}, {"prepare": (TAKEN,), "abandon": late})
    done = results(plane.want(ONE))
    assert done == []
    late.callback(None)
    assert [type(error) for error in done] == [SettingsError]


def test_who_comes_during_a_change_waits_for_its_end() -> None:
    """A second reload during one is planned from what the first has made."""
    late: Deferred[tuple[Problem, ...]] = Deferred()
    plane, asked, (follower,) = plane_of({"prepare": late})
    first, second = plane.want(ONE), plane.want(TWO)
    assert asked == ["a examine", "a prepare"]
    follower.answers = {}
    late.callback(())
    assert result(first) == plan(NOTHING, ONE)
    assert result(second) == plan(ONE, TWO)
    assert asked == ["a examine", "a prepare", "a commit"] * 2


def test_a_change_that_fails_lets_the_next_one_come() -> None:
    plane, _, (follower,) = plane_of({"examine": (TAKEN,)})
    assert isinstance(result(plane.want(ONE)), SettingsError)
    follower.answers = {}
    assert result(plane.want(TWO)) == plan(NOTHING, TWO)


def test_a_change_that_is_cancelled_is_abandoned() -> None:
    """A service that is stopped during a start gives back what it has bound."""
    plane, asked, _ = plane_of({}, {"prepare": Deferred()})
    done = plane.want(ONE)
    done.cancel()
    assert isinstance(result(done), CancelledError)
    assert asked[-2:] == ["b abandon", "a abandon"]
    assert plane.current is NOTHING


def test_what_is_altered_is_what_is_current_when_it_is_its_turn() -> None:
    waiting: Deferred[tuple[Problem, ...]] = Deferred()
    plane, _, _ = plane_of({"prepare": waiting})
    first = results(plane.want(ONE))
    seen: list[Settings] = []
    second = results(plane.alter(lambda current: seen.append(current) or TWO))  # type: ignore[func-returns-value]
    assert seen == []
    waiting.callback(())
    assert seen == [ONE]
    assert (first, second) == ([plan(NOTHING, ONE)], [plan(ONE, TWO)])


def test_what_is_about_to_run_is_saved_when_all_are_ready_and_before_anybody_commits() -> None:
    plane, asked, _ = plane_of({}, {})
    result(plane.alter(lambda current: ONE, lambda wanted, changes: asked.append(f"save {len(changes)}")))
    assert asked == ["a examine", "b examine", "a prepare", "b prepare", "save 1", "a commit", "b commit"]


def test_who_cannot_save_changes_nothing() -> None:
    def full(wanted: Settings, changes: tuple[Change, ...]) -> None:
        raise SettingsError((ABSENT,))

    plane, asked, _ = plane_of({}, {})
    assert result(plane.alter(lambda current: ONE, full)).problems == (ABSENT,)
    assert asked[2:] == ["a prepare", "b prepare", "b abandon", "a abandon"]
    assert plane.current is NOTHING


def test_nothing_changes_any_more_once_it_has_stopped() -> None:
    plane, asked, _ = plane_of({})
    plane.stop()
    assert isinstance(result(plane.want(ONE)), SettingsError)
    assert asked == []
