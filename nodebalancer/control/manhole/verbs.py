"""What can be asked and done, in the shell by calling it and over SSH as a command.

Each verb is a coroutine function that answers with something that prints well. Its positional parameters are a command's
arguments and its keyword-only ones a command's options, given as text there; the first line of its docstring is its
help. A change is live at once and written into the settings file.
"""

from __future__ import annotations

import difflib
import inspect
import shlex
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from nodebalancer.balancing.health import StatusChange
from nodebalancer.balancing.member import Member
from nodebalancer.balancing.pool import Pool
from nodebalancer.changes import Change
from nodebalancer.control.change_lines import in_one_line
from nodebalancer.control.editor import Editor
from nodebalancer.control.events import Events
from nodebalancer.control.manhole.tables import (
    CONNECTIONS,
    EVENTS,
    HELP,
    NODES,
    PROSPECTS,
    STATUS,
    UNSERVED,
    Table,
    Text,
)
from nodebalancer.control.manhole.views import (
    ConnectionView,
    IDataPlane,
    Line,
    NodeView,
    connections_of,
    look_at,
    status_lines,
    within,
)
from nodebalancer.control.manhole.why import Prospect, Unserved, UnservedRing, client_of, prospect
from nodebalancer.control.reload import Reloader
from nodebalancer.errors import NodeBalancerError, SettingsError
from nodebalancer.fields import Integer
from nodebalancer.model import Mode

log = Logger()

SHOWN: Final = 50
"""Rows of a list that can be long, when nothing is said."""

POLL_SECONDS: Final = 0.2
"""Between two looks whether a node has open connections."""

WAIT_SECONDS_MAX: Final = 86400

DONE: Final = 0
TIME_OVER: Final = 1
REFUSED: Final = 2
"""Exit statuses: it was done, it was not done in time, it cannot be done."""

NO_FILE: Final = "there is no settings file, so nothing can be changed"


class VerbError(NodeBalancerError):
    """A verb cannot do what it was asked for.

    Raised by verbs, with a sentence; caught by whoever called one for an operator: the shell and the commands.
    """


class TimeOverError(VerbError):
    """What was waited for did not happen in time. Raised and caught likewise."""


@attrs.define(eq=False)
class Subject:
    """What verbs are about, handed in by ``process``.

    Attributes:
        data: Carries the traffic.
        events: What has become of nodes.
        unserved: Whom we could not serve.
        clock: The reactor's time.
        objects: More that a shell can lay its hands on, by the names it has there.
        editor: Changes what runs and its file, ``reloader`` brings in what the file says; None: there is no file. They
            come later than the followers that they need, of which the manhole is one.
    """

    data: IDataPlane
    events: Events
    unserved: UnservedRing
    clock: IReactorTime
    objects: Mapping[str, Any] = attrs.field(factory=dict)
    editor: Editor | None = None
    reloader: Reloader | None = None


class Verbs:
    """The verbs.

    Args:
        subject: What they are about.
        who: On whose behalf, for the log.
        form: How a verb, by its name, is written where they are used; for help.
    """

    def __init__(self, subject: Subject, who: str, form: Callable[[str, Callable[..., Any]], str]) -> None:
        self._subject = subject
        self._who = who
        self._form = form

    async def status(self, of: str = "") -> Table[Line]:
        """NodeBalancers, configs and nodes: all, or of one NodeBalancer or config."""
        configs = [view for view in look_at(self._subject.data) if within(view.path, of)]
        if of and not configs:
            raise VerbError(f"{of}: there is no such NodeBalancer or config")
        return Table(status_lines(configs), STATUS, without="nothing runs")

    async def nodes(self, of: str = "") -> Table[NodeView]:
        """Nodes: all, or of one NodeBalancer or config."""
        configs = look_at(self._subject.data)
        found = [node for view in configs for node in view.nodes if within(node.path, of)]
        if of and not (found or any(within(view.path, of) for view in configs)):
            raise VerbError(f"{of}: there is no such NodeBalancer, config or node")
        return Table(found, NODES, without="no nodes")

    async def connections(self, of: str = "", *, limit: int | str = SHOWN) -> Table[ConnectionView]:
        """Open connections, the oldest first: all, or of a NodeBalancer, config, node or client."""
        most = whole(limit, 1, 10_000, "limit")
        first, count = connections_of(self._subject.data, of, most)
        return Table(first, CONNECTIONS, without="no connections", more=left_out(count - len(first)))

    async def events(self, of: str = "", *, limit: int | str = SHOWN) -> Table[StatusChange]:
        """Changes of nodes' status, the newest last: all, or of a NodeBalancer, config or node."""
        most = whole(limit, 1, 10_000, "limit")
        found = [one for one in self._subject.events.changes if within(f"{one.config}/{one.node}", of)]
        return Table(
            found[-most:], EVENTS, without="no changes so far", more=left_out(len(found) - most, "before these")
        )

    async def why(self, client: str, *, cookie: str = "") -> Text:
        """What would happen to a client now, and when it was not served last."""
        try:
            address = client_of(client)
        except ValueError as e:
            raise VerbError(str(e)) from None
        data = self._subject.data
        prospects: Table[Prospect] = Table(
            (prospect(live, address, cookie.encode(errors="replace")) for live in data.configs.values()),
            PROSPECTS,
            without="no config would take it",
        )
        unserved: Table[Unserved] = Table(
            self._subject.unserved.of(address)[-SHOWN:], UNSERVED, without=f"{address} was served each time we remember"
        )
        return Text(f"{prospects!r}\n\n{unserved!r}")

    async def drain(self, node: str, *, wait: int | str = 0) -> Text:
        """Give a node no new clients but those that stick to it; with wait, until it has no connections left."""
        return await self._set_mode(node, Mode.DRAIN, wait)

    async def reject(self, node: str, *, wait: int | str = 0) -> Text:
        """Give a node no new connections at all; with wait, until it has none."""
        return await self._set_mode(node, Mode.REJECT, wait)

    async def accept(self, node: str) -> Text:
        """Give a node its share of the clients."""
        return await self._set_mode(node, Mode.ACCEPT, 0)

    async def backup(self, node: str) -> Text:
        """Give a node clients while no other can have them."""
        return await self._set_mode(node, Mode.BACKUP, 0)

    async def weight(self, node: str, n: int | str) -> Text:
        """Let a node have another share of the clients: 1 to 255."""
        wanted = whole(n, 1, 255, "weight")
        if self._subject.editor is None:
            raise VerbError(NO_FILE)
        changes = await self._subject.editor.set_node(node, weight=wanted)
        return Text(f"{node}: weight {wanted}{was(changes, 'weight')}")

    async def reload(self) -> Text:
        """Let run what the settings file says."""
        if self._subject.reloader is None:
            raise VerbError(NO_FILE)
        changes = await self._subject.reloader.reload(f"manhole, {self._who}")
        return Text(f"reloaded: {in_one_line(changes)}")

    async def help(self) -> Table[tuple[str, str]]:
        """Tell what there is."""
        rows = (
            (self._form(name, verb), (inspect.getdoc(verb) or "").partition("\n")[0])
            for name, verb in self.all().items()
        )
        return Table(rows, HELP, without="")

    def all(self) -> dict[str, Callable[..., Any]]:
        """Every verb by its name."""
        return {name: getattr(self, name) for name in VERBS}

    async def _set_mode(self, path: str, mode: Mode, wait: int | str) -> Text:
        seconds = whole(wait, 0, WAIT_SECONDS_MAX, "wait")
        if self._subject.editor is None:
            raise VerbError(NO_FILE)
        changes = await self._subject.editor.set_node(path, mode=mode)
        pool = self._pool(path)
        member = pool.members[path.rpartition("/")[2]]
        if seconds:
            await self._emptied(path, member, seconds)
        config = path.rpartition("/")[0]
        nobody = "" if pool.takers() else f"; no node of {config} takes new clients now"
        return Text(
            f"{path}: mode {mode.value}{was(changes, 'mode')}, {counted(member.open, 'open connection')}{nobody}"
        )

    def _pool(self, path: str) -> Pool:
        owner, config, _ = path.split("/")  # the editor knows it
        return self._subject.data.configs[owner, config].pool

    async def _emptied(self, path: str, member: Member, seconds: int) -> None:
        """Return when a node has no open connections.

        Raises:
            TimeOverError: It has some still, after that many seconds.
        """
        clock = self._subject.clock
        latest = clock.seconds() + seconds
        while member.open:
            if clock.seconds() >= latest:
                left = counted(member.open, "open connection")
                raise TimeOverError(f"{path}: {left} still, after {counted(seconds, 'second')}")
            await deferLater(clock, min(POLL_SECONDS, max(latest - clock.seconds(), 0.0)))


VERBS: Final = (
    "status",
    "nodes",
    "connections",
    "events",
    "why",
    "accept",
    "drain",
    "reject",
    "backup",
    "weight",
    "reload",
    "help",
)
"""In the order in which help tells them."""


def whole(value: int | str, low: int, high: int, what: str) -> int:
    """A whole number in a range, from a shell or a command.

    Raises:
        VerbError: It is none.
    """
    try:
        return Integer(low, high).read(str(value))
    except ValueError as e:
        raise VerbError(f"{what} {value}: {e}") from None


def was(changes: tuple[Change, ...], field: str) -> str:
    """What a field was before a change of one node: `` (was accept)``."""
    for change in changes:
        value = change.fields[field][0]  # type: ignore[union-attr]  # a change of one node is a Changed
        return f" (was {getattr(value, 'value', value)})"
    return " already"


def counted(count: int, what: str) -> str:
    """``1 open connection``, ``2 open connections``."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def left_out(count: int, where: str = "more") -> str:
    """What is said of rows that are not shown; nothing when there are none."""
    return f"… and {count} {where}; limit shows them" if count > 0 else ""


async def run_command(verbs: Verbs, line: str) -> tuple[int, str, str]:
    """Do what a command line says.

    Returns:
        Exit status, what is to be printed, and what is to be said on standard error.

    Raises:
        CancelledError: Whoever has asked is gone.
    """
    try:
        verb, arguments, options = parsed(verbs, line)
        return DONE, repr(await verb(*arguments, **options)), ""
    except TimeOverError as e:
        return TIME_OVER, "", str(e)
    except NodeBalancerError as e:
        return REFUSED, "", sentences(e)
    except CancelledError:
        raise
    except Exception:
        log.failure("a manhole command failed")
        return REFUSED, "", "this is a fault of the program, not yours; its log has more"


def parsed(verbs: Verbs, line: str) -> tuple[Callable[..., Any], list[str], dict[str, str]]:
    """The verb that a line names, its arguments and its options.

    Raises:
        VerbError: It names none, or has what the verb cannot take; with a sentence.
    """
    try:
        words = shlex.split(line)
    except ValueError as e:
        raise VerbError(f"{e} in: {line}") from None
    name = words[0] if words else ""
    verb = verbs.all().get(name)
    if verb is None:
        nearest = difflib.get_close_matches(name[:100], verbs.all(), n=1)
        hint = f"the nearest known one is {nearest[0]}" if nearest else "help lists those that are known"
        raise VerbError(f"unknown command {name!r}; {hint}")
    arguments: list[str] = []
    options: dict[str, str] = {}
    rest = iter(words[1:])
    for word in rest:
        if word.startswith("--"):
            option, assigned, value = word[2:].partition("=")
            options[option] = value if assigned else next(rest, "")
        else:
            arguments.append(word)
    try:
        inspect.signature(verb).bind(*arguments, **options)
    except TypeError as e:
        raise VerbError(f"{e}; expected {form(name, verb)}") from None
    if positional := options.keys() & {p.name for p in inspect.signature(verb).parameters.values() if not optional(p)}:
        raise VerbError(f"there is no option --{min(positional)}; expected {form(name, verb)}")
    return verb, arguments, options


def optional(parameter: inspect.Parameter) -> bool:
    """Whether it is an option and no argument."""
    return parameter.kind is parameter.KEYWORD_ONLY


def form(name: str, verb: Callable[..., Any]) -> str:
    """How a verb is written as a command: ``drain NODE [--wait N]``."""
    words = [name]
    for parameter in inspect.signature(verb).parameters.values():
        upper = parameter.name.upper()
        word = f"--{parameter.name} {upper}" if optional(parameter) else upper
        words.append(word if parameter.default is parameter.empty else f"[{word}]")
    return " ".join(words)


def sentences(error: NodeBalancerError) -> str:
    """What an error says to an operator, a line for each problem."""
    return "\n".join(map(str, error.problems)) if isinstance(error, SettingsError) else str(error)
