"""Sockets that we were started with."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.protocol import Factory

from nodebalancer.fields import Address
from nodebalancer.process.systemd.inherited import SHOWN, Inherited, Passed, environment, passed
from nodebalancer.testing.logs import logged
from nodebalancer.testing.nodes import LOOPBACK, free_port

FIRST = 200
"""Where the descriptors of a test begin; far above those that are in use."""


class Engine:
    """Writes down what it is asked for."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def listen(self, address: Address, factory: Any, **options: Any) -> Any:
        self.calls.append(("listen", address))

    def adopt(self, fd: int, factory: Any, *, client_first: bool = False) -> Any:
        self.calls.append(("adopt", fd))


class Manager:
    """Descriptors as systemd passes them: consecutive, and inheritable."""

    def __init__(self) -> None:
        self.addresses: list[Address] = []
        self.count = 0

    def add(self, opened: socket.socket) -> Address:
        address = Address(*opened.getsockname()[:2])
        os.dup2(opened.fileno(), FIRST + self.count)
        opened.close()
        self.count += 1
        self.addresses.append(address)
        return address

    @property
    def environ(self) -> dict[str, str]:
        return {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(self.count), "LISTEN_FDNAMES": "web"}

    def inherited(self, engine: Engine, **environ: str) -> Inherited:
        seam: Any = engine
        return Inherited(seam, self.passed(**environ))

    def passed(self, **environ: str) -> Passed:
        return passed({**self.environ, **environ}, FIRST)

    def is_open(self, number: int) -> bool:
        try:
            os.fstat(FIRST + number)
        except OSError:
            return False
        return True

    def close(self) -> None:
        for number in range(self.count):
            if self.is_open(number):
                os.close(FIRST + number)


@pytest.fixture
def manager() -> Iterator[Manager]:
    manager = Manager()
    yield manager
    manager.close()


def listening() -> socket.socket:
    return socket.create_server((LOOPBACK, free_port()))


def test_an_address_that_was_passed_is_adopted_and_any_other_bound(manager: Manager) -> None:
    manager.add(listening())
    second = manager.add(listening())
    engine = Engine()
    inherited = manager.inherited(engine)
    other = Address(LOOPBACK, 1)
    inherited.listen(second, Factory(), client_first=True, freebind=True)
    inherited.listen(other, Factory())
    assert engine.calls == [("adopt", FIRST + 1), ("listen", other)]
    assert not os.get_inheritable(FIRST)


@pytest.mark.parametrize(
    "environ", [{"LISTEN_PID": "1"}, {"LISTEN_FDS": ""}, {"LISTEN_FDS": "0"}, {"LISTEN_FDS": "many"}]
)
def test_descriptors_for_somebody_else_are_left_alone(manager: Manager, environ: dict[str, str]) -> None:
    address = manager.add(listening())
    engine = Engine()
    manager.inherited(engine, **environ).listen(address, Factory())
    assert engine.calls == [("listen", address)]
    assert manager.is_open(0)


def test_what_nobody_listens_on_is_told_and_closed(manager: Manager) -> None:
    used, unused = manager.add(listening()), manager.add(listening())
    inherited = manager.inherited(Engine())
    with logged("systemd") as lines:
        inherited.close_unused([used])
    [line] = lines
    assert f"passed a socket that listens on {unused}, and no config listens there" in line
    assert (manager.is_open(0), manager.is_open(1)) == (True, False)


def test_what_is_no_listening_socket_is_told_once_and_left_alone(manager: Manager) -> None:
    address = manager.add(listening())
    manager.add(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    manager.add(socket.socket())
    found = manager.passed()
    with logged("descriptor") as lines:
        Inherited(Engine(), found).close_unused([address])  # type: ignore[arg-type]
    assert lines == [
        f"descriptor {FIRST + 1} (unnamed): the inherited descriptor is no listening TCP socket; it is left alone",
        f"descriptor {FIRST + 2} (unnamed): the inherited descriptor is no listening TCP socket; it is left alone",
    ]
    assert all(manager.is_open(number) for number in range(3))


def test_descriptors_that_are_not_open_are_told_and_what_is_opened_there_later_is_ours(manager: Manager) -> None:
    address = manager.add(listening())
    for many in (2, 3 + SHOWN):
        found = manager.passed(LISTEN_FDS=str(many))
        assert found.sockets == {address: FIRST}
        ours = Manager()
        ours.count = 1
        later = ours.add(listening())
        engine = Engine()
        with logged("LISTEN_FDS") as lines:
            inherited = Inherited(engine, found)  # type: ignore[arg-type]
            inherited.close_unused([address])
            inherited.listen(later, Factory())
        assert engine.calls == [("listen", later)]
        assert ours.is_open(1)
        os.close(FIRST + 1)
        [line] = lines
        assert line.startswith(f"LISTEN_FDS = {many} counts descriptors that are not open: {FIRST + 1}")
        assert line.endswith("…") is (many > SHOWN)


@pytest.mark.parametrize("count", ["9" * 30, "9" * 5000])
def test_a_count_that_nobody_can_mean_ends_somewhere(manager: Manager, count: str) -> None:
    address = manager.add(listening())
    assert address in manager.passed(LISTEN_FDS=count).sockets


def test_what_a_reload_leaves_is_told_once_and_kept_for_when_it_comes_back(manager: Manager) -> None:
    address = manager.add(listening())
    inherited = manager.inherited(Engine())
    with logged("no config") as lines:
        inherited.tell_left([address])
        inherited.tell_left([])
        inherited.tell_left([])
        assert len(lines) == 1
        inherited.tell_left([address])
        inherited.tell_left([])
    assert len(lines) == 2
    assert f"no config listens on {address} any more, but systemd holds its socket" in lines[0]
    assert manager.is_open(0)


def test_what_twisted_takes_out_of_the_environment_is_still_known(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.environ["PATH"]
    monkeypatch.delenv("PATH")
    assert environment()["PATH"] == before


def test_a_system_that_does_not_tell_has_the_environment_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(path: Path) -> bytes:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_bytes", absent)
    assert environment() is os.environ
