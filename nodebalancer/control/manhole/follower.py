"""The follower that has the manhole's listener."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from twisted.conch.ssh.keys import Key
from twisted.internet.defer import Deferred, succeed

from nodebalancer.changes import Change
from nodebalancer.control.manhole.keys import AuthorizedKeys, host_key, read_authorized_keys
from nodebalancer.control.manhole.verbs import Subject
from nodebalancer.control.manhole.watchdog import Watchdog
from nodebalancer.control.port import Port
from nodebalancer.errors import Problem
from nodebalancer.fields import Address
from nodebalancer.model import NOTHING, Settings

if TYPE_CHECKING:
    from nodebalancer.control.manhole.ssh import Door


@attrs.frozen(eq=False)
class Prepared:
    """What ``commit`` will make so.

    Attributes:
        wanted: The settings.
        keys: Who may log in.
        host_key: Who we are; None: there is to be no manhole.
        state_dir: Where the host key is from.
    """

    wanted: Settings
    keys: AuthorizedKeys = attrs.field(factory=dict)
    host_key: Key | None = None
    state_dir: str = ""


class Manhole:
    """Follows the settings with a shell over SSH.

    Args:
        reactor: Where it listens, by ``listenTCP``.
        subject: What sessions are about; its editor and reloader may come later, before somebody logs in.
        watchdog: Ends statements that take too long.
    """

    def __init__(self, reactor: Any, subject: Subject, watchdog: Watchdog | None = None) -> None:
        self._port = Port(reactor, "manhole", "the manhole")
        self._subject = subject
        self._watchdog = watchdog or Watchdog()
        self._door: Door | None = None
        self._now = self._then = Prepared(NOTHING)

    @property
    def address(self) -> Address | None:
        """Where it listens; None: nowhere."""
        return self._port.address

    # IFollower

    def examine(self, wanted: Settings) -> Deferred[tuple[Problem, ...]]:
        """Read the keys that may log in."""
        return succeed(_keys(wanted)[1])

    def prepare(self, wanted: Settings, changes: tuple[Change, ...]) -> Deferred[tuple[Problem, ...]]:
        """Read the keys again, have a host key, and bind; nobody is let in by a new listener before ``commit``."""
        self._then = Prepared(wanted)
        if wanted.manhole is None:
            return succeed(self._port.prepare(None, None))
        keys, problems = _keys(wanted)
        if problems:
            return succeed(problems)
        try:
            key = self._host_key(wanted.service.state_dir)
        except (OSError, ValueError) as e:
            return succeed((_host_key_problem(e),))
        self._then = Prepared(wanted, keys, key, wanted.service.state_dir)
        return succeed(self._port.prepare(wanted.manhole.listen, self._made_door()))

    def commit(self) -> Deferred[None]:
        """Let in who may, where it is wanted; sessions stay as long as their key does."""
        self._now = self._then
        door = self._door
        if self._now.host_key is not None:
            assert door is not None
            door.let_in(self._now.keys, self._now.host_key)
        elif door is not None:
            door.close()
        self._port.commit()
        self._subject.unserved.keep(
            f"{nodebalancer.name}/{config}"
            for nodebalancer in self._now.wanted.nodebalancers.values()
            for config in nodebalancer.configs
        )
        return succeed(None)

    def abandon(self) -> Deferred[None]:
        """Close what was bound."""
        self._port.abandon()
        self._then = self._now
        return succeed(None)

    def stop(self) -> None:
        """Listen no more; sessions go on until the process ends."""
        self._port.stop()

    def close(self) -> None:
        """Send everybody away too."""
        self.stop()
        if self._door is not None:
            self._door.close()

    def _host_key(self, state_dir: str) -> Key:
        """What was read as root may be unreadable now, so it is read once."""
        if self._now.host_key is not None and self._now.state_dir == state_dir:
            return self._now.host_key
        return host_key(state_dir)

    def _made_door(self) -> Door:
        if self._door is None:
            # It installs a reactor, and takes a while.
            from nodebalancer.control.manhole.ssh import Door

            self._door = Door(self._subject, self._watchdog)
        return self._door


def _keys(wanted: Settings) -> tuple[AuthorizedKeys, tuple[Problem, ...]]:
    """Who may log in, and what is wrong with that."""
    if wanted.manhole is None or not wanted.manhole.authorized_keys:
        return {}, ()  # without a file there are no settings, see settings.checks
    file = wanted.manhole.authorized_keys
    keys, faults = read_authorized_keys(file)
    where, spot = f"[manhole] authorized_keys = {file}", ("manhole", "authorized_keys")
    return keys, tuple(Problem(where, fault, spot) for fault in faults)


def _host_key_problem(error: OSError | ValueError) -> Problem:
    what = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
    return Problem("[service] state_dir", f"{what}; the manhole keeps its host key there", ("service", "state_dir"))
