"""The errors of this program: one small family.

Each class says who raises it and who catches it. Whatever an outsider can cause is one of these and becomes an
answer or a log line, never a traceback; anything else that escapes is a fault of ours.
"""

from __future__ import annotations

import attrs


class NodeBalancerError(Exception):
    """The root of the family. Never raised itself."""


@attrs.frozen
class Problem:
    """One thing that is wrong with the settings, told to the operator.

    Attributes:
        where: The place as the operator knows it: ``etc/nodebalancer.ini:14: [config www/secure] check_timeout = 45``,
            or a shorter form where there is no line (``[config www/plain] listen``).
        message: What is wrong and what was expected: ``not between 1 and 30 seconds``.
    """

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class SettingsError(NodeBalancerError):
    """The settings cannot be used: every problem at once.

    Raised by ``settings.load`` and by ``ControlPlane.want`` (a follower refused); caught by the command line, by a
    reload and by whoever else asked for the change, who prints the problems and keeps what ran before.

    Attributes:
        problems: At least one, in the order of the file where there is a file.
    """

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


class MessageError(NodeBalancerError):
    """Bytes from a peer that are not the HTTP message they should be.

    Raised by ``wire``; caught by ``proxy.http``, which answers a client with ``status`` and treats a node's message
    as 502. The peer's bytes are never part of the text.

    Attributes:
        status: What a client that sent this is told: 400, 405, 414, 417, 431, 501 or 505. Without meaning for a response.
        rule: Where it broke which rule, for the log and the counter: ``request head: bare LF, RFC 9112 2.2``.
    """

    def __init__(self, status: int, rule: str) -> None:
        super().__init__(rule)
        self.status = status
        self.rule = rule


class DialError(NodeBalancerError):
    """A connection to a node could not be made.

    Made by an engine and handed to ``connection_failed`` of the protocol that was to be connected.

    Attributes:
        ours: True when the fault is on this machine (no descriptors, no source port, no memory …): never a verdict on the node.
        timed_out: True when the node was silent for the whole time-out.
        reason: A short phrase for the log: ``connection refused``.
    """

    def __init__(self, reason: str, *, ours: bool = False, timed_out: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.ours = ours
        self.timed_out = timed_out


class ListenError(NodeBalancerError):
    """An address cannot be listened on.

    Raised by ``Engine.listen`` and ``Engine.adopt``; caught by the listeners' ``prepare``, which turns it into a
    ``Problem`` with section and key.

    Attributes:
        reason: A phrase that completes "cannot listen on ADDRESS: …": ``already in use by another program``.
        unsupported: True when this machine lacks the address family (no IPv6): a warning for one of several addresses.
    """

    def __init__(self, reason: str, *, unsupported: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.unsupported = unsupported
