"""SSH: who is let in, and what a session is; Twisted's conch does the protocol.

Importing this installs a reactor, so it is imported as late as that may be.

Rules:

* Public keys only, those of ``authorized_keys``. The user name is of no account.
* Sessions only: no forwarding in either direction, no subsystem (sftp), no agent, no environment.
* Everything has a bound: connections, sessions, time to log in, idle time, what a client sends ahead, what it does not read.
* Whoever breaks a bound, or the protocol, loses the connection, and nothing else happens.
* Every login, line and command is in the log, escaped, with the key that it came by.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.conch.avatar import ConchUser
from twisted.conch.error import ConchError, ValidPublicKey
from twisted.conch.interfaces import IConchUser
from twisted.conch.ssh import connection, factory, transport, userauth
from twisted.conch.ssh.keys import Key
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import ISSHPrivateKey
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from nodebalancer.control.manhole.keys import AuthorizedKey, AuthorizedKeys
from nodebalancer.control.manhole.session import OUTPUT_BYTES_MAX, QuietLogger, Session
from nodebalancer.control.manhole.verbs import Subject
from nodebalancer.control.manhole.watchdog import Watchdog
from nodebalancer.transport.addresses import normal_host
from nodebalancer.wire.http1.lines import escaped

log = Logger()

CONNECTIONS_MAX: Final = 16
SESSIONS_MAX: Final = 8

LOGIN_SECONDS: Final = 20
IDLE_SECONDS: Final = 1800.0
QUIET_SECONDS: Final = 10.0
PARTING_SECONDS: Final = 5.0
"""How long a client that is sent away may take to read why."""


class Door(factory.SSHFactory):
    """Makes connections, and knows those that are open.

    Args:
        subject: What sessions are about.
        clock: The reactor's time.
        watchdog: Ends statements that take too long.

    Attributes:
        keys: Who may log in now.
        connections: Those that are open; ``sessions``: theirs.
    """

    _log = QuietLogger()
    noisy = False
    primes = None

    def __init__(self, subject: Subject, watchdog: Watchdog) -> None:
        self.subject = subject
        self.clock = subject.clock
        self.watchdog = watchdog
        self.keys: AuthorizedKeys = {}
        self._quiet_until: dict[str, float] = {}
        self.connections: set[Connection] = set()
        self.sessions: set[Session] = set()
        self.portal = Portal(Realm(self), [Checker(self)])
        self.services = {b"ssh-userauth": Auth, b"ssh-connection": Channels}
        self.protocol = Connection

    def startFactory(self) -> None:
        """Called when bound; ``let_in`` comes later, and nobody is accepted before."""

    def logPrefix(self) -> str:
        """For what Twisted says when it listens."""
        return "manhole"

    def let_in(self, keys: AuthorizedKeys, host_key: Key) -> None:
        """From now on these keys; whoever is in by another one has to leave."""
        self.keys = keys
        self.privateKeys = {host_key.sshType(): host_key}
        self.publicKeys = {host_key.sshType(): host_key.public()}
        for one in tuple(self.connections):
            if one.user is not None and one.user.key.blob not in keys:
                one.part("this key may not log in any more")

    def close(self) -> None:
        """Everybody has to leave."""
        for one in tuple(self.connections):
            one.part("the manhole closes")

    def buildProtocol(self, addr: Any) -> Any:
        """A connection, unless there are too many."""
        if len(self.connections) >= CONNECTIONS_MAX:
            self.tell("crowd", f"{CONNECTIONS_MAX} connections are open, no more are taken")
            return None
        return super().buildProtocol(addr)

    def tell(self, kind: str, what: str) -> None:
        """What somebody does who is not in, who could do it often: one line of each kind in ``QUIET_SECONDS``."""
        now = self.clock.seconds()
        if now >= self._quiet_until.get(kind, now):
            self._quiet_until[kind] = now + QUIET_SECONDS
            log.info("manhole: {what}", what=what)


@implementer(IPushProducer)
class Connection(transport.SSHServerTransport):
    """A client's connection.

    Attributes:
        peer: Where it comes from.
        user: Who it is, once that is known.
    """

    _log = QuietLogger()
    factory: Door
    transport: Any  # a twisted.internet.tcp.Server

    # Counter mode and SHA-2 are what is left of conch's lists when one drops what is old; every OpenSSH since 2011 has them.
    supportedCiphers = [b"aes256-ctr", b"aes192-ctr", b"aes128-ctr"]  # noqa: RUF012 conch's
    supportedMACs = [b"hmac-sha2-512", b"hmac-sha2-256"]  # noqa: RUF012 the same
    supportedCompressions = [b"none"]  # noqa: RUF012 the same

    # What clients may sign with, which conch takes for what our host key can sign with.
    SIGNATURES = b"ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,rsa-sha2-512,rsa-sha2-256"

    user: User | None = None
    peer = ""
    _unread = 0
    _paused = False
    _parting = False
    _deadline: Any = None

    def connectionMade(self) -> None:
        self.peer = normal_host(self.transport.getPeer().host)
        self.transport.setTcpNoDelay(True)
        self.transport.setTcpKeepAlive(True)
        self.transport.registerProducer(self, True)
        self.factory.connections.add(self)
        self._deadline = self.factory.clock.callLater(LOGIN_SECONDS, self._time_over)
        super().connectionMade()

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.factory.connections.discard(self)
        if self._deadline.active():
            self._deadline.cancel()
        if self.user is None:
            self.factory.tell("no login", f"{self.peer} has left without a login")
        super().connectionLost(reason)

    def dataReceived(self, data: bytes) -> None:
        """Whatever is wrong with it costs this connection and no more."""
        try:
            super().dataReceived(data)
        except Exception as e:
            what = escaped(repr(e).encode())
            self.factory.tell("garbage", f"{self.peer} did not keep to the protocol ({what}); its connection is reset")
            self.transport.abortConnection()

    def sendPacket(self, messageType: int, payload: bytes) -> None:
        super().sendPacket(messageType, payload)
        if self._paused:
            self._unread += len(payload)
            if self._unread > OUTPUT_BYTES_MAX:
                self.does_not_read()

    def sendDisconnect(self, reason: int, desc: bytes) -> None:
        self.transport.unregisterProducer()  # or what is unsent would keep it open
        super().sendDisconnect(reason, desc)

    def sendExtInfo(self, extensions: list[tuple[bytes, bytes]]) -> None:
        super().sendExtInfo([(b"server-sig-algs", self.SIGNATURES)])

    def receiveError(self, reasonCode: int, description: bytes) -> None:
        """The client says that it leaves; conch would log an error."""

    # What conch has no words for.

    def touch(self) -> None:
        """The client has done something; its idle time begins anew."""
        if self._deadline.active() and not self._parting:
            self._deadline.reset(IDLE_SECONDS)

    def part(self, why: str) -> None:
        """Send the client away."""
        if not self._parting:
            self._parting = True
            if self._deadline.active():
                self._deadline.reset(PARTING_SECONDS)
            log.info("manhole: {peer} is sent away: {why}", peer=self.peer, why=why)
            self.sendDisconnect(transport.DISCONNECT_BY_APPLICATION, why.encode())

    def does_not_read(self) -> None:
        """The client lets its output pile up."""
        log.warn("manhole: {peer} does not read its output; its connection is reset", peer=self.peer)
        self.transport.abortConnection()

    def _time_over(self) -> None:
        if self._parting:
            self.transport.abortConnection()
        elif any(session.busy for session in self.factory.sessions if session.user is self.user):
            self._deadline = self.factory.clock.callLater(IDLE_SECONDS, self._time_over)
        else:
            self._deadline = self.factory.clock.callLater(PARTING_SECONDS, self._time_over)
            self.part("idle for too long" if self.user else "no login in time")

    # IPushProducer: whether the kernel takes what we send.

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self._unread = 0

    def stopProducing(self) -> None:
        """Nothing is produced but answers."""


class Auth(userauth.SSHUserAuthServer):
    """Logins; ``Connection`` bounds their time."""

    _log = QuietLogger()
    attemptsBeforeDisconnect = 6


class Channels(connection.SSHConnection):
    """What a client opens."""

    _log = QuietLogger()


@implementer(ICredentialsChecker)
class Checker:
    """Knows the keys that may log in."""

    credentialInterfaces = (ISSHPrivateKey,)

    def __init__(self, door: Door) -> None:
        self._door = door

    def requestAvatarId(self, credentials: Any) -> Any:
        """The key, if the client has shown that it has its private half.

        Raises:
            ValidPublicKey: The key is right, and no signature was made with it yet.
            UnauthorizedLogin: The key may not log in, or the signature is wrong.
        """
        key = self._door.keys.get(credentials.blob)
        if key is None:
            raise UnauthorizedLogin("this key may not log in")
        if not credentials.signature:
            raise ValidPublicKey
        if not Key.fromString(credentials.blob, type="blob").verify(credentials.signature, credentials.sigData):
            raise UnauthorizedLogin("the signature is not made with this key")
        return key


@implementer(IRealm)
class Realm:
    """Makes users of keys."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def requestAvatar(self, avatarId: AuthorizedKey, mind: Any, *interfaces: Any) -> Any:  # type: ignore[override]
        """The user who has a key."""
        user = User(self._door, avatarId)
        return IConchUser, user, user.leave


class User(ConchUser):
    """Somebody who is in.

    Attributes:
        key: By which.
        who: The same for the log, escaped.
    """

    _log = QuietLogger()

    def __init__(self, door: Door, key: AuthorizedKey) -> None:
        super().__init__()
        self.door = door
        self.key = key
        self.who = f"{key.fingerprint} ({escaped(key.comment)})"

    @property
    def conn(self) -> Any:
        return self._conn

    @conn.setter
    def conn(self, conn: Any) -> None:
        self._conn = conn
        conn.transport.user = self
        conn.transport.touch()
        self.note("has logged in")

    def lookupChannel(self, channelType: bytes, windowSize: int, maxPacket: int, data: bytes) -> Session:
        """A session, and nothing else.

        Raises:
            ConchError: It is something else, or there are too many; caught by conch, which tells the client.
        """
        if channelType != b"session":
            self.note(f"is refused a channel: {escaped(channelType)}")
            raise ConchError(connection.OPEN_ADMINISTRATIVELY_PROHIBITED, "sessions only")
        if len(self.door.sessions) >= SESSIONS_MAX:
            raise ConchError(connection.OPEN_RESOURCE_SHORTAGE, "too many sessions")
        return Session(self, windowSize, maxPacket)

    def gotGlobalRequest(self, requestType: bytes, data: bytes) -> int:
        """Nothing that concerns a whole connection is done: no forwarding from here."""
        if b"forward" in requestType:
            self.note(f"is refused {escaped(requestType)}")
        return 0

    def leave(self) -> None:
        """The connection is lost."""
        self.note("has left")

    def note(self, what: str) -> None:
        """The audit: who, from where, what; ``what`` has no foreign bytes any more."""
        log.info("manhole: {who} from {peer} {what}", who=self.who, peer=self._conn.transport.peer, what=what)
