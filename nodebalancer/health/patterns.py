r"""What a probe's body must match: PCRE, searched for within bounds (R20).

Note [Bounds]. PCRE2 counts steps (``LIMIT_MATCH``), but anew for each byte of the body at which a match may begin: half a
million steps for each of 65,536 bytes are minutes. So a body is searched twice at most:

1. With compiled code and few steps a start. All patterns but the worst are answered here, in less than a millisecond.
2. When a start was cut off: interpreted (compiled code has a small stack, which ``(?:.|\n)*`` fills in 2 KiB), with
   ``LIMIT_MATCH`` steps a start, until ``SECONDS_MAX`` of processor time are spent, which is looked at between starts.

What still cannot be bounded is one start whose steps are long loops over single characters, as of ``a*a*[bc]`` in a row of
thousands of ``a``. Patterns are the operator's own; it takes a body made to order to make one of them that slow.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any, Final

import pcre2

STEPS_FEW: Final = 500
"""Steps a start at first; 65,536 starts are at most 50 milliseconds."""

STEPS_MAX: Final = 500_000
"""Steps a start before a pattern gives up; nginx and HAProxy leave PCRE's own 10,000,000."""

SECONDS_MAX: Final = 0.05
"""Processor time that a search may take. While it does, nothing else in the process goes on."""

STARTS_BETWEEN_LOOKS: Final = 8
"""How often the time is looked at; a look costs as much as a start."""

NO_MATCH: Final = "body does not match"
GAVE_UP: Final = "pattern gave up: "
TOO_MANY_STEPS: Final = GAVE_UP + "too many steps"


class BodyPattern:
    """A pattern, compiled. Bytes are matched, as nginx and HAProxy do; ``(*UTF)`` at its beginning makes it characters.

    Compared by ``text``.

    Args:
        text: As in the settings.
        clock: Processor seconds of this thread.
        jit: Whether to compile to machine code, where the system lets us (``MemoryDenyWriteExecute`` of systemd does not).

    Raises:
        ValueError: With a sentence for the operator; caught by whoever examines settings.
    """

    __slots__ = ("_clock", "_few", "_late", "_many", "_until", "text")

    def __init__(self, text: str, clock: Callable[[], float] = time.thread_time, *, jit: bool = True) -> None:
        self.text = text
        self._clock = clock
        self._until = 0.0
        self._late = False
        pattern = text.encode()
        try:
            pcre2.compile(pattern, pcre2.ASCII, jit=False)
        except pcre2.PatternError as error:
            raise ValueError(sentence(error, pattern)) from None
        self._few = quick(pattern) if jit else None
        self._many = self._watched(pattern)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BodyPattern) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def objection(self, body: bytes) -> str:
        """Why ``body`` is not what is wanted: ``NO_MATCH``, or that the pattern gave up; empty when it matches."""
        if self._few is not None:
            with contextlib.suppress(pcre2.LibraryError):
                return "" if self._few.search(body) else NO_MATCH
        return self._second_opinion(body)

    def _second_opinion(self, body: bytes) -> str:
        self._until = self._clock() + SECONDS_MAX
        self._late = False
        try:
            matched = self._many.search(body)
        except pcre2.LibraryError as error:
            words = str(error)
            return TOO_MANY_STEPS if "match limit" in words else GAVE_UP + words
        if self._late:
            return TOO_MANY_STEPS
        return "" if matched else NO_MATCH

    def _watched(self, pattern: bytes) -> Any:
        """For the second search. A pattern that bears no callout before it (settings such as ``(*UTF)`` at its
        beginning, a comment that swallows the bracket) has the steps as its only bound.
        """
        watched = b"(?C1)(?:%b)" % pattern
        try:
            return pcre2.compile(limited(STEPS_MAX, watched), pcre2.ASCII, jit=False, callout=self._look())
        except pcre2.PatternError:
            return pcre2.compile(limited(STEPS_MAX, pattern), pcre2.ASCII, jit=False)

    def _look(self) -> Callable[[Any], int]:
        """What is called at each start."""
        starts = 0

        def look(_: Any) -> int:
            nonlocal starts
            starts += 1
            if starts % STARTS_BETWEEN_LOOKS == 0 and self._clock() > self._until:
                self._late = True
                return int(pcre2.CalloutReturn.ABORT)
            return int(pcre2.CalloutReturn.PASS)

        return look


def quick(pattern: bytes) -> Any:
    """For the first search; None where the system forbids machine code that was not in a file."""
    try:
        return pcre2.compile(limited(STEPS_FEW, pattern), pcre2.ASCII)
    except pcre2.LibraryError:
        return None


def limited(steps: int, pattern: bytes) -> bytes:
    """``pattern`` that gives up after ``steps``; one that sets the limit itself can only lower it."""
    return b"(*LIMIT_MATCH=%d)%b" % (steps, pattern)


def sentence(error: Any, pattern: bytes) -> str:
    """What is wrong with ``pattern`` and where, from what PCRE2 says."""
    place = len(pattern[: error.pos].decode(errors="ignore"))
    rule = str(error).partition("; ")[2]
    return f"not a regular expression (PCRE): {rule} (at character {place})"
