"""What is lost with root's rights. The integration tests give up real ones."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from nodebalancer.model import Manhole, Protocol, Service, Settings, Stickiness
from nodebalancer.process import rights
from nodebalancer.process.rights import give_listening, lost, low_ports_end, may_bind_low_ports
from nodebalancer.testing.builders import config, nodebalancer, settings
from nodebalancer.testing.nodes import LOOPBACK

Forbid = Callable[[str, int], None]


@pytest.fixture
def forbid(monkeypatch: pytest.MonkeyPatch) -> Forbid:
    """Takes rights to paths away."""
    forbidden: set[tuple[str, int]] = set()

    def access(path: str, what: int, **options: bool) -> bool:
        return (path, what) not in forbidden

    monkeypatch.setattr(os, "access", access)
    monkeypatch.setattr(rights, "may_bind_low_ports", lambda: True)
    return lambda path, what: forbidden.add((path, what))


def secure() -> Settings:
    https = config("secure", protocol=Protocol.HTTPS, ssl_cert="/etc/a.crt", ssl_key="/etc/a.key")
    return settings(nodebalancer("www", https, config("plain", ssl_key="/etc/b.key")))


def test_who_has_lost_nothing_is_told_nothing(forbid: Forbid) -> None:
    assert list(lost(secure(), "/etc/nb.ini")) == []


def test_a_key_that_only_root_may_read_is_named_with_what_that_means(forbid: Forbid) -> None:
    forbid("/etc/a.key", os.R_OK)
    forbid("/etc/b.key", os.R_OK)
    [sentence] = lost(secure(), "/etc/nb.ini")
    assert sentence == (
        f"[config www/secure] ssl_key = /etc/a.key: cannot be read by user {os.geteuid()}: what was read stays in use, a "
        "renewed one takes a restart"
    )


def test_a_file_that_cannot_be_read_again_cannot_be_reloaded(forbid: Forbid) -> None:
    forbid("/etc/nb.ini", os.R_OK)
    forbid("/etc/nb.ini", os.W_OK)
    assert list(lost(secure(), "/etc/nb.ini")) == [
        f"/etc/nb.ini cannot be read by user {os.geteuid()}: reloads will be refused"
    ]


def test_other_files_without_which_a_reload_is_refused_are_told(forbid: Forbid) -> None:
    service, manhole = Service(cookie_key_file="/etc/cookie.key"), Manhole(authorized_keys="/etc/keys")
    cookies = settings(nodebalancer("www", config("web", stickiness=Stickiness.HTTP_COOKIE)))
    wanted = attrs.evolve(cookies, service=service, manhole=manhole)
    assert list(lost(wanted, "/etc/nb.ini")) == []
    for file in ("/etc/keys", "/etc/cookie.key", ""):
        forbid(file, os.R_OK)
    assert list(lost(wanted, "/etc/nb.ini")) == [
        f"[service] cookie_key_file = /etc/cookie.key: cannot be read by user {os.geteuid()}: reloads will be refused",
        f"[manhole] authorized_keys = /etc/keys: cannot be read by user {os.geteuid()}: reloads will be refused",
    ]
    assert list(lost(Settings(service=service, manhole=Manhole()), "/etc/nb.ini")) == []


@pytest.mark.parametrize("path", ["/var/log/access.log", "/var/log"])
def test_an_access_log_that_cannot_be_opened_anew_is_told(forbid: Forbid, path: str) -> None:
    wanted = attrs.evolve(secure(), service=Service(access_log="/var/log/access.log"))
    assert list(lost(wanted, "/etc/nb.ini")) == []
    forbid(path, os.W_OK)
    [sentence] = lost(wanted, "/etc/nb.ini")
    assert sentence.startswith("[service] access_log = /var/log/access.log: cannot be opened anew by user ")


@pytest.mark.parametrize("path", ["/etc/nb.ini", "/etc"])
def test_a_file_that_cannot_be_replaced_changes_by_hand_only(forbid: Forbid, path: str) -> None:
    forbid(path, os.W_OK)
    [sentence] = lost(secure(), "/etc/nb.ini")
    assert sentence == f"/etc/nb.ini cannot be written by user {os.geteuid()}: only reloads can change what runs"


def test_a_file_whose_group_cannot_be_kept_changes_by_hand_only(
    forbid: Forbid, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rights, "kept_from_us", lambda path: f"{path} is theirs")
    [sentence] = lost(secure(), "/etc/nb.ini")
    assert sentence == "/etc/nb.ini cannot be written: /etc/nb.ini is theirs: only reloads can change what runs"


def test_low_ports_are_told_to_who_cannot_bind_them(forbid: Forbid, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights, "may_bind_low_ports", lambda: False)
    [sentence] = lost(secure(), "/etc/nb.ini")
    assert f"ports below {low_ports_end()} cannot be bound by user {os.geteuid()}" in sentence


@pytest.mark.parametrize(("text", "may"), [("CapEff:\t0000000000000400\n", True), ("CapEff:\t0\n", False)])
def test_the_right_to_bind_low_ports_is_a_capability(monkeypatch: pytest.MonkeyPatch, text: str, may: bool) -> None:
    monkeypatch.setattr(rights, "low_ports_end", lambda: 1024)
    monkeypatch.setattr(Path, "read_text", lambda path: f"Name:\tx\n{text}")
    assert may_bind_low_ports() is may


def test_where_all_ports_are_free_nobody_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights, "low_ports_end", lambda: 0)
    assert may_bind_low_ports()


def test_a_system_without_capabilities_knows_root_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path: "")
    assert low_ports_end() == 1024
    assert may_bind_low_ports() is (os.geteuid() == 0)


def test_listening_sockets_are_given_to_the_user_that_twistd_becomes() -> None:
    with socket.create_server((LOOPBACK, 0)) as listening, socket.socket() as other:
        give_listening(None, None)
        give_listening(os.geteuid(), None)
        assert os.fstat(listening.fileno()).st_uid == os.geteuid()
        if os.geteuid() == 0:
            give_listening(65534, 65533)
            given = os.fstat(listening.fileno())
            assert (given.st_uid, given.st_gid, os.fstat(other.fileno()).st_uid) == (65534, 65533, 0)


def test_sockets_that_cannot_be_given_stay_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "fchown", forbidden)
    with socket.create_server((LOOPBACK, 0)) as listening:
        give_listening(65534, None)
        assert os.fstat(listening.fileno()).st_uid == os.geteuid()
