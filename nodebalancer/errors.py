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
        spot: Section and key, from parts that know no lines: whoever has the file's ``Places`` says the line.
    """

    where: str
    message: str
    spot: tuple[str, str] | None = None

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
        absent: True when this machine does not have the address, or not yet: ``freebind`` would help.
    """

    def __init__(self, reason: str, *, unsupported: bool = False, absent: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.unsupported = unsupported
        self.absent = absent


class HandshakeError(NodeBalancerError):
    """A client's TLS handshake did not succeed, and nothing else was heard of it.

    Made by an engine: the reason of ``connectionLost``, for the protocol to count. A client can bring it about at will, so it is
    never logged with a traceback.

    Attributes:
        reason: What the client did, in a few plain words from a small set: ``no shared cipher``, ``a plain HTTP request``.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class CertificateError(NodeBalancerError):
    """A certificate and its key cannot be used.

    Raised by the reading parts of ``certificates``; caught by ``certificates.loading``, which makes problems or
    warnings of it.

    Attributes:
        flaws: What is wrong, each with the INI key that it is about: ``("ssl_key", "has a passphrase")``; at least one.
    """

    def __init__(self, *flaws: tuple[str, str]) -> None:
        super().__init__("; ".join(message for _, message in flaws))
        self.flaws = flaws


class LinesLostError(NodeBalancerError):
    """Some lines of the access log could not be written. Raised by its ``LogFile``; caught by its writer.

    Attributes:
        count: How many.
        reason: The system's.
    """

    def __init__(self, count: int, reason: str) -> None:
        super().__init__(count, reason)
        self.count = count
        self.reason = reason
