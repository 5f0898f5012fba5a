"""Who is let in, and what is refused: with the OpenSSH client."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.conch.error import ValidPublicKey
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.task import Clock, deferLater
from twisted.logger import LogLevel

from nodebalancer.control.manhole import ssh
from nodebalancer.control.manhole.follower import Manhole
from nodebalancer.control.manhole.session import OUTPUT_BYTES_MAX, QuietLogger
from nodebalancer.fields import Address
from nodebalancer.model import NOTHING, Service, Settings
from nodebalancer.model import Manhole as Wanted
from nodebalancer.testing.logs import logged
from nodebalancer.testing.nodes import HANG_SECONDS, LOOPBACK, free_port

pytestmark = pytest.mark.integration

LoggedErrors = Callable[[], list[Any]]


class Client:
    """An ssh that runs beside the reactor."""

    def __init__(self, reactor: Any, argv: list[str]) -> None:
        self._reactor = reactor
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
        self.out = self.err = b""

    def type(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)

    def finish(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def read(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.out += self.process.stdout.read() or b""
        self.err += self.process.stderr.read() or b""

    async def until(self, happened: Callable[[], object], *, reading: bool = True) -> None:
        for _ in range(int(HANG_SECONDS / 0.02)):
            if reading:
                self.read()
            if happened():
                return
            await deferLater(self._reactor, 0.02)
        raise AssertionError(f"waited in vain; {self.out!r} {self.err!r}")

    async def says(self, words: bytes) -> None:
        await self.until(lambda: words in self.out)

    async def status(self) -> int:
        await self.until(lambda: self.process.poll() is not None)
        self.read()
        assert self.process.returncode is not None
        return self.process.returncode

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


class Site:
    """A manhole that listens, and clients of it."""

    def __init__(self, directory: Path, lb: Any, reactor: Any) -> None:
        self.directory = directory
        self.lb = lb
        self._reactor = reactor
        self.port = free_port()
        self.keys = directory / "keys"
        self.fingerprint = self.make_key("id", "anna@example")
        self.make_key("other", "mallory")
        self.keys.write_text((directory / "id.pub").read_text())
        self.manhole = Manhole(reactor, lb.subject)
        self.clients: list[Client] = []
        self.follow(self.wanted())

    def make_key(self, name: str, comment: str, kind: str = "ed25519") -> str:
        file = self.directory / name
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", comment, "-f", file], check=True)
        shown = subprocess.run(["ssh-keygen", "-lf", file], check=True, capture_output=True, text=True).stdout
        return shown.split()[1]

    def wanted(self) -> Settings:
        wanted = Wanted(Address(LOOPBACK, self.port), str(self.keys))
        return Settings(manhole=wanted, service=Service(state_dir=str(self.directory / "state")))

    def follow(self, wanted: Settings) -> None:
        problems: list[Any] = []
        self.manhole.prepare(wanted, ()).addCallback(problems.extend)
        assert problems == []
        self.manhole.commit()

    @property
    def door(self) -> ssh.Door:
        assert self.manhole._door is not None
        return self.manhole._door

    def ssh(self, *arguments: str, key: str = "id", options: tuple[str, ...] = ()) -> Client:
        settings = {
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": str(self.directory / "known"),
            "LogLevel": "ERROR",
        }
        argv = ["ssh", "-F", "none", "-p", str(self.port), "-i", str(self.directory / key), *options]
        for name, value in settings.items():
            argv += ["-o", f"{name}={value}"]
        client = Client(self._reactor, [*argv, f"anybody@{LOOPBACK}", *arguments])
        self.clients.append(client)
        return client

    async def run(self, *arguments: str, **options: Any) -> tuple[int, bytes, bytes]:
        client = self.ssh(*arguments, **options)
        client.finish()
        return await client.status(), client.out, client.err

    async def at_rest(self) -> None:
        await self.until(lambda: not self.door.connections)
        assert not self.door.sessions

    async def until(self, happened: Callable[[], object]) -> None:
        for _ in range(int(HANG_SECONDS / 0.02)):
            if happened():
                return
            await deferLater(self._reactor, 0.02)
        raise AssertionError("waited in vain")


@pytest.fixture
def site(tmp_path: Path, lb_for: Any, reactor: Any) -> Any:
    site = Site(tmp_path, lb_for(reactor), reactor)
    yield site
    for client in site.clients:
        client.close()
    site.manhole.close()
    for connection in tuple(site.door.connections):
        connection.transport.abortConnection()


async def test_a_key_that_is_listed_lets_in_whatever_its_kind(site: Site) -> None:
    for kind in ("ecdsa", "rsa"):
        site.make_key(kind, kind, kind)
        with site.keys.open("a") as keys:
            keys.write((site.directory / f"{kind}.pub").read_text())
    site.follow(site.wanted())
    for key in ("id", "ecdsa", "rsa"):
        status, out, _ = await site.run("nodes", key=key)
        assert (status, out[:6]) == (0, b"NODE  ")
    await site.at_rest()


async def test_every_login_and_command_is_in_the_log_with_its_key_and_escaped(site: Site) -> None:
    with logged("manhole:") as lines:
        await site.run('weight www/main/n1 "7\x1b[2J"')
        await site.at_rest()
    who = f"manhole: {site.fingerprint} (anna@example) from {LOOPBACK}"
    assert lines == [
        f"{who} has logged in",
        f'{who} runs "weight www/main/n1 \\x227\\x1b[2J\\x22"',
        f"{who} is answered with exit status 2",
        f"{who} has left",
    ]


async def test_any_other_key_and_any_password_is_refused(site: Site) -> None:
    with logged("manhole:") as lines:
        assert (await site.run("nodes", key="other"))[0] == 255
        options = ("-o", "PubkeyAuthentication=no")
        status, _, complaint = await site.run("nodes", options=options)
        assert status == 255
        assert b"Permission denied (publickey)" in complaint
        await site.at_rest()
    assert lines == [f"manhole: {LOOPBACK} has left without a login"]  # and more of these only after a while


async def test_a_wrong_signature_is_no_login(site: Site) -> None:
    credentials: Any = type(
        "Credentials", (), {"blob": next(iter(site.door.keys)), "signature": b"", "sigData": b"x"}
    )()
    checker = ssh.Checker(site.door)
    with pytest.raises(ValidPublicKey):
        checker.requestAvatarId(credentials)
    credentials.signature = b"\0\0\0\x0bssh-ed25519\0\0\0\x40" + bytes(64)
    with pytest.raises(UnauthorizedLogin):
        checker.requestAvatarId(credentials)


async def test_nothing_is_forwarded(site: Site) -> None:
    with socket.create_server((LOOPBACK, 0)) as target:
        place = f"{LOOPBACK}:{target.getsockname()[1]}"
        with logged("manhole:") as lines:
            status, _, complaint = await site.run(options=("-W", place))
            assert (status, complaint) != (0, b"")
            back = ("-o", "ExitOnForwardFailure=yes", "-R", f"{free_port()}:{place}")
            status, _, complaint = await site.run("nodes", options=back)
            assert (status, b"remote port forwarding failed" in complaint) == (255, True)
            port = free_port()
            forwarding = site.ssh(options=("-N", "-L", f"{LOOPBACK}:{port}:{place}", "-o", "LogLevel=INFO"))
            await site.until(lambda: port_answers(port))
            await forwarding.until(lambda: b"administratively prohibited" in forwarding.err)
        assert any("is refused a channel: direct-tcpip" in line for line in lines)
        assert any("is refused tcpip-forward" in line for line in lines)
        target.settimeout(0)
        with pytest.raises(BlockingIOError):
            target.accept()


def port_answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


async def test_there_is_no_subsystem(site: Site) -> None:
    with logged("manhole:") as lines:
        status, _, complaint = await site.run("sftp", options=("-s",))
        assert status != 0
        assert b"subsystem request failed" in complaint
    assert [line.rpartition(" is ")[2] for line in lines if "refused" in line] == ["refused subsystem"]


async def test_several_are_in_at_once_but_not_too_many(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "SESSIONS_MAX", 2)
    clients = [site.ssh() for _ in range(2)]
    for number, client in enumerate(clients):
        client.type(b"x = %d; print('in', x)\n" % number)
    for number, client in enumerate(clients):
        await client.says(b"in %d" % number)
    assert len(site.door.sessions) == 2
    status, _, complaint = await site.run("nodes", options=("-o", "LogLevel=INFO"))
    assert (status, b"too many sessions" in complaint) == (255, True)
    monkeypatch.setattr(ssh, "CONNECTIONS_MAX", 2)
    assert (await site.run("nodes"))[0] == 255
    for client in clients:
        client.finish()
        assert await client.status() == 0
    await site.at_rest()


async def test_a_key_that_is_struck_out_loses_its_sessions_and_others_stay(site: Site) -> None:
    with site.keys.open("a") as keys:
        keys.write((site.directory / "other.pub").read_text())
    site.follow(site.wanted())
    anna, mallory = site.ssh(), site.ssh(key="other")
    for client in (anna, mallory):
        client.type(b"print('in')\n")
        await client.says(b"in")
    site.keys.write_text((site.directory / "id.pub").read_text())
    site.follow(site.wanted())
    assert await mallory.status() == 255
    anna.type(b"print('still')\n")
    await anna.says(b"still")
    site.follow(NOTHING)
    assert await anna.status() == 255
    await site.at_rest()


async def test_whoever_does_not_log_in_or_does_nothing_has_to_leave(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "LOGIN_SECONDS", 0.5)
    monkeypatch.setattr(ssh, "PARTING_SECONDS", 0.2)
    with logged("manhole:") as lines, socket.create_connection((LOOPBACK, site.port)):
        await site.until(lambda: f"manhole: {LOOPBACK} is sent away: no login in time" in lines)
        await site.at_rest()
    monkeypatch.setattr(ssh, "LOGIN_SECONDS", 20)
    monkeypatch.setattr(ssh, "IDLE_SECONDS", 1)
    site.lb.client()
    idle, busy = site.ssh(), site.ssh("drain www/main/n1 --wait 3")
    assert await idle.status() == 255
    assert await busy.status() == 1
    await site.at_rest()


async def test_whoever_does_not_hear_that_it_has_to_leave_is_reset(
    site: Site, monkeypatch: pytest.MonkeyPatch, reactor: Any
) -> None:
    monkeypatch.setattr(ssh, "PARTING_SECONDS", 0.1)
    with socket.create_connection((LOOPBACK, site.port)):
        await site.until(lambda: site.door.connections)
        [connection] = site.door.connections
        connection.part("a test")
        connection.transport.disconnecting = False  # as if something were unsent
        connection.transport.stopWriting()
        await site.at_rest()


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + b"x" * 5000,
        b"SSH-2.0-x\r\n" + bytes(100),
        b"SSH-\n",
        b"SSH-2.0-x\r\n" + b"\0\0\0\x0c\x04\x14garbage" + bytes(4),
    ],
)
async def test_garbage_costs_its_sender_the_connection_and_nobody_else_anything(site: Site, garbage: bytes) -> None:
    with socket.create_connection((LOOPBACK, site.port)) as sender:
        sender.sendall(garbage)
        sender.setblocking(False)
        await site.until(lambda: is_closed(sender))
    assert (await site.run("nodes"))[0] == 0
    await site.at_rest()


def is_closed(sender: socket.socket) -> bool:
    try:
        return sender.recv(10_000) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


async def test_a_client_that_does_not_read_is_reset_and_nobody_else_notices(site: Site) -> None:
    client = site.ssh()
    client.type(b"print('in')\n")
    await client.says(b"in")
    with logged("manhole:") as lines:
        client.type(b"for _ in range(9): print('x' * 99999)\n\n" * 20)
        await site.until(lambda: any("does not read its output" in line for line in lines))
    await site.at_rest()
    assert (await site.run("nodes"))[0] == 0


async def test_a_client_whose_kernel_does_not_read_is_reset_too(site: Site) -> None:
    client = site.ssh()
    client.type(b"print('in')\n")
    await client.says(b"in")
    [connection] = site.door.connections
    connection.pauseProducing()
    for _ in range(OUTPUT_BYTES_MAX // 30_000):
        connection.sendIgnore(bytes(30_000))
    assert connection.transport.connected
    connection.resumeProducing()
    connection.pauseProducing()
    for _ in range(OUTPUT_BYTES_MAX // 30_000 + 1):
        connection.sendIgnore(bytes(30_000))
    connection.stopProducing()
    await site.at_rest()


def test_of_conchs_own_lines_only_faults_are_kept(logged_errors: LoggedErrors) -> None:
    log = QuietLogger()
    with logged("") as lines:
        log.error("somebody left")
        assert lines == []
        try:
            raise KeyError("ours")
        except KeyError:
            log.failure("a fault")
    assert [event["log_level"] for event in logged_errors()] == [LogLevel.critical]


def test_times_are_those_of_the_clock(lb: Any, clock: Clock) -> None:
    assert ssh.Door(lb.subject, None).clock is clock  # type: ignore[arg-type]
