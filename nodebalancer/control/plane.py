"""The one door through which settings change.

Rules:

* Changes are made one after the other; whoever comes during one waits for its end.
* All or nothing: every follower is ready before the first commits, and once the first has, all do.
* Nothing to change is a change too: the files that settings name (certificates) may be others than last time, so
  followers are asked all the same, with an empty plan.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from nodebalancer.changes import Change, plan
from nodebalancer.errors import Problem, SettingsError
from nodebalancer.interfaces import IFollower
from nodebalancer.model import NOTHING, Settings

log = Logger()


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
        return self._turn.run(lambda: Deferred.fromCoroutine(self._want(wanted)))

    def examine(self, wanted: Settings) -> Deferred[tuple[Problem, ...]]:
        """Every problem that followers see in ``wanted`` without opening a socket; for ``--check``."""
        return Deferred.fromCoroutine(self._examine(wanted))

    async def _want(self, wanted: Settings) -> tuple[Change, ...]:
        problems = await self._examine(wanted)
        if problems:
            raise SettingsError(problems)
        changes = plan(self.current, wanted)
        await self._prepare(wanted, changes)
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

    async def _prepare(self, wanted: Settings, changes: tuple[Change, ...]) -> None:
        """Make every follower ready, or none.

        Raises:
            SettingsError: One of them has problems.
        """
        asked: list[IFollower] = []
        try:
            for follower in self._followers:
                asked.append(follower)
                problems = await follower.prepare(wanted, changes)
                if problems:
                    raise SettingsError(problems)
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
