"""The one door through which settings change.

Rules:

* Changes are made one after the other; whoever comes during one waits for its end.
* All or nothing: every follower is ready before the first commits, and once the first has, all do.
* Nothing to change is a change too: the files that settings name (certificates) may be others than last time, so
  followers are asked all the same, with an empty plan.
* Once the process stops nothing changes any more: whoever asks is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from nodebalancer.changes import Change, plan
from nodebalancer.errors import Problem, SettingsError
from nodebalancer.interfaces import IFollower
from nodebalancer.model import NOTHING, Settings

log = Logger()

Save = Callable[[Settings, tuple[Change, ...]], None]
"""Keeps what is about to run, and what changes with it; raises ``SettingsError`` when it cannot."""


class ControlPlane:
    """Leads all followers from one set of settings to the next (R30).

    Args:
        followers: In the order in which they prepare and commit.

    Attributes:
        current: What was last committed.
    """

    def __init__(self, followers: Sequence[IFollower]) -> None:
        self.current: Settings = NOTHING
        self._followers = tuple(followers)
        self._turn = DeferredLock()
        self._stopped = False

    def want(self, wanted: Settings) -> Deferred[tuple[Change, ...]]:
        """Make ``wanted`` the current settings. Has fired already when every follower answers at once.

        Cancelling it before the first commit abandons the change.

        Returns:
            What was changed; empty when nothing was.

        Raises:
            SettingsError: Followers have problems; nothing has changed. Caught by whoever asked.
            Exception: What a follower raised, a fault of ours. Nothing has changed; only when it was a commit that
                raised, all that others had to do is done and ``current`` is ``wanted``.
        """
        return self.alter(lambda current: wanted)

    def alter(
        self, make: Callable[[Settings], Settings], save: Save = lambda wanted, changes: None
    ) -> Deferred[tuple[Change, ...]]:
        """``want`` what ``make`` makes of the current settings, when it is this change's turn.

        Args:
            make: Given what is current, answers what is wanted; may raise ``SettingsError``.
            save: Called when everybody is ready and before anybody commits; when it raises, the change is abandoned.

        Returns:
            As ``want``.

        Raises:
            SettingsError: As ``want``, and what ``make`` and ``save`` raise.
        """
        return self._turn.run(lambda: Deferred.fromCoroutine(self._alter(make, save)))

    def stop(self) -> None:
        """Refuse every change from now on."""
        self._stopped = True

    def examine(self, wanted: Settings) -> Deferred[tuple[Problem, ...]]:
        """Every problem that followers see in ``wanted`` without opening a socket; for ``--check``."""
        return Deferred.fromCoroutine(self._examine(wanted))

    async def _alter(self, make: Callable[[Settings], Settings], save: Save) -> tuple[Change, ...]:
        if self._stopped:
            raise SettingsError((Problem("stopping", "nothing can be changed any more"),))
        wanted = make(self.current)
        problems = await self._examine(wanted)
        if problems:
            raise SettingsError(problems)
        changes = plan(self.current, wanted)
        await self._prepare(wanted, changes, save)
        broken = await self._commit()
        self.current = wanted
        if broken:
            raise broken[0]
        return changes

    async def _examine(self, wanted: Settings) -> tuple[Problem, ...]:
        problems: tuple[Problem, ...] = ()
        for follower in self._followers:
            problems += await follower.examine(wanted)
        return problems

    async def _prepare(self, wanted: Settings, changes: tuple[Change, ...], save: Save) -> None:
        """Make every follower ready and save, or neither.

        Raises:
            SettingsError: A follower has problems, or ``save`` has.
        """
        asked: list[IFollower] = []
        try:
            for follower in self._followers:
                asked.append(follower)
                problems = await follower.prepare(wanted, changes)
                if problems:
                    raise SettingsError(problems)
            save(wanted, changes)
        except Exception:
            await self._abandon(asked)
            raise

    async def _abandon(self, asked: Sequence[IFollower]) -> None:
        """Undo in the opposite order. One that cannot is a fault of ours and keeps nobody else from it."""
        for follower in reversed(asked):
            try:
                await follower.abandon()
            except Exception:
                log.failure("{follower} could not abandon a change", follower=follower)

    async def _commit(self) -> list[Exception]:
        """Let every follower commit, also when one breaks its promise that it cannot fail; what they raised."""
        broken = []
        for follower in self._followers:
            try:
                await follower.commit()
            except Exception as e:
                log.failure("{follower} could not commit a change", follower=follower)
                broken.append(e)
        return broken
