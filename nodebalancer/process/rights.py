"""What a reload can no longer do once twistd's ``--uid`` has given up root's rights, and what is left to it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from nodebalancer.control.settings_file import kept_from_us
from nodebalancer.model import NodeBalancer, PortConfig, Protocol, Settings, Stickiness
from nodebalancer.transport.sockets import own_listening

NET_BIND_SERVICE: Final = 10
"""The capability to bind ports below 1024 (capabilities(7))."""


def give_listening(uid: int | None, gid: int | None) -> None:
    """Make listening sockets those of the user that we are about to become: Linux lets a wildcard and a specific address of one port
    be open at once for one user only, and a reload that exchanges them needs that.
    """
    if uid is not None:
        for listening in own_listening():
            with suppress(OSError):
                os.fchown(listening.fileno(), uid, -1 if gid is None else gid)


def lost(settings: Settings, path: str) -> Iterator[str]:
    """A sentence for each thing that the start could do and that we, as the user we are now, cannot do again.

    Args:
        settings: What runs.
        path: Their file.
    """
    if not _may(path, os.R_OK):
        yield f"{path} cannot be read by user {os.geteuid()}: reloads will be refused"
    elif not (_may(path, os.W_OK) and _may(os.path.dirname(os.path.realpath(path)), os.W_OK)):
        yield f"{path} cannot be written by user {os.geteuid()}: only reloads can change what runs"
    elif reason := kept_from_us(path):
        yield f"{path} cannot be written: {reason}: only reloads can change what runs"
    if not may_bind_low_ports():
        yield (
            f"ports below {low_ports_end()} cannot be bound by user {os.geteuid()}: those that are open stay, a reload "
            "that wants another one will be refused"
        )
    log = settings.service.access_log
    if os.path.isabs(log) and not (_may(log, os.W_OK) and _may(os.path.dirname(log), os.W_OK)):
        yield (
            f"[service] access_log = {log}: cannot be opened anew by user {os.geteuid()}: once it is moved away, lines go "
            "on into the old file"
        )
    yield from _read_at_reloads(settings)
    for nodebalancer in settings.nodebalancers.values():
        for config in nodebalancer.configs.values():
            yield from _keys(nodebalancer, config)


def _read_at_reloads(settings: Settings) -> Iterator[str]:
    """Files that every reload reads anew, and is refused without."""
    files = []
    if any(
        config.stickiness is Stickiness.HTTP_COOKIE
        for nodebalancer in settings.nodebalancers.values()
        for config in nodebalancer.configs.values()
    ):
        files.append(("[service] cookie_key_file", settings.service.cookie_key_file))
    if settings.manhole is not None:
        files.append(("[manhole] authorized_keys", settings.manhole.authorized_keys))
    for where, file in files:
        if file and not _may(file, os.R_OK):
            yield f"{where} = {file}: cannot be read by user {os.geteuid()}: reloads will be refused"


def _keys(nodebalancer: NodeBalancer, config: PortConfig) -> Iterator[str]:
    """``ssl_cert`` and ``ssl_key`` only: what lies in ``ssl_cert_dir`` is told by the certificates when it is read again."""
    if config.protocol is Protocol.HTTPS:
        for key in ("ssl_cert", "ssl_key"):
            if not _may(getattr(config, key), os.R_OK):
                yield (
                    f"[config {nodebalancer.name}/{config.name}] {key} = {getattr(config, key)}: cannot be read by user "
                    f"{os.geteuid()}: what was read stays in use, a renewed one takes a restart"
                )


def _may(path: str, what: int) -> bool:
    return os.access(path, what, effective_ids=os.access in os.supports_effective_ids)


def may_bind_low_ports() -> bool:
    """Whether we have the capability, or need none."""
    if low_ports_end() <= 1:
        return True
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> NET_BIND_SERVICE & 1)
    return os.geteuid() == 0


def low_ports_end() -> int:
    """The first port that anybody may bind."""
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        return 1024
