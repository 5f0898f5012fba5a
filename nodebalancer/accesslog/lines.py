r"""The formats of the access log: entries as lines of bytes.

``combined`` is Apache's, so that goaccess, awstats and fail2ban read it, with fields of ours after it::

    client - - [time] "request" status bytes "referer" "user agent" config node outcome waiting connecting answering total "request id"

Times are seconds, and ``-`` stands for what there was not. The time in brackets is when the client came. ``json`` has the
same and more, by name, one object a line.

Bytes from outside that are not 0x20 to 0x7e, and ``"`` and ``\``, stand as ``\xNN`` in both.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

from nodebalancer.accesslog.entry import Entry
from nodebalancer.balancing.outcome import Outcome
from nodebalancer.model import LogFormat, Protocol
from nodebalancer.wire.http1.lines import escaped

STATUS_OF_NONE: Final = {Outcome.CLIENT_LEFT: 499, Outcome.SERVED: 200}
"""What stands for the status where the client was sent none: nginx's 499 for a client that has left, 200 for a tcp
connection that was served, and for all others nginx's 444, closed without a response. goaccess knows them."""

CLOSED_WITHOUT_RESPONSE: Final = 444

BEGUN_BYTES: Final = 200
"""How much of a request that was not read to the end is repeated."""

_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_FIELDS = {
    name: re.compile(rb"\r\n" + spelt + rb":[ \t]*+([^\r\n]*+)")
    for name, spelt in (
        ("host", rb"(?i:host)"),
        ("referer", rb"(?i:referer)"),
        ("user_agent", rb"(?i:user-agent)"),
    )
}
_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


def combined(entry: Entry) -> bytes:
    """A line of Apache's combined format, and ours after it."""
    status = entry.status or STATUS_OF_NONE.get(entry.outcome, CLOSED_WITHOUT_RESPONSE)
    return (
        f'{entry.client} - - [{_apache_time(int(entry.at))}] "{_request(entry)}" {status} {entry.bytes_out or "-"} '
        f'"{_field(entry, "referer") or "-"}" "{_field(entry, "user_agent") or "-"}" '
        f"{entry.config} {'-' if entry.node is None else entry.node.name} {entry.outcome.word} {_seconds(entry.waiting)} "
        f'{_seconds(entry.connecting)} {_seconds(entry.answering)} {entry.total:.3f} "{entry.request_id.decode("ascii") or "-"}"\n'
    ).encode("ascii")


def json_line(entry: Entry) -> bytes:
    """A JSON object with everything; what there was not is null."""
    node = entry.node
    fields = {
        "time": f"{_iso_time(int(entry.at))}.{int(entry.at % 1 * 1000):03d}Z",
        "config": entry.config,
        "protocol": entry.protocol.value,
        "client": entry.client,
        "outcome": entry.outcome.word,
        "node": None if node is None else node.name,
        "node_address": None if node is None else str(node.address),
        "failed_dials": entry.failed_dials,
        "bytes_in": entry.bytes_in,
        "bytes_out": entry.bytes_out,
        "waiting": _rounded(entry.waiting),
        "connecting": _rounded(entry.connecting),
        "total": _rounded(entry.total),
    }
    if entry.protocol is not Protocol.TCP:
        fields |= {
            "status": entry.status or None,
            "method": escaped(entry.method) or None,
            "target": escaped(entry.target) or None,
            "version": None if not entry.method else "1.0" if entry.http10 else "1.1",
            "host": _field(entry, "host") or None,
            "referer": _field(entry, "referer") or None,
            "user_agent": _field(entry, "user_agent") or None,
            "forwarded_for": ", ".join(map(escaped, entry.forwarded_for)) or None,
            "request_id": entry.request_id.decode("ascii") or None,
            "answering": _rounded(entry.answering),
            "rule": entry.rule or None,
            "begun": escaped(entry.begun[:BEGUN_BYTES]) or None,
        }
    return _encode(fields).encode("ascii") + b"\n"


FORMATS: Final[Mapping[LogFormat, Callable[[Entry], bytes]]] = {
    LogFormat.COMBINED: combined,
    LogFormat.JSON: json_line,
}
"""What makes a line of an entry."""


def _request(entry: Entry) -> str:
    if entry.method:
        return f"{escaped(entry.method)} {escaped(entry.target)} HTTP/1.{0 if entry.http10 else 1}"
    return escaped(entry.begun[:BEGUN_BYTES].partition(b"\r\n")[0]) or "-"


def _field(entry: Entry, name: str) -> str:
    found = _FIELDS[name].search(entry.lines)
    return "" if found is None else escaped(found[1])


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.3f}"


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


@lru_cache(64)
def _apache_time(second: int) -> str:
    """``21/Nov/2026:13:55:36 +0100``: local time, and English whatever the locale."""
    at = time.localtime(second)
    sign, offset = "-" if at.tm_gmtoff < 0 else "+", abs(at.tm_gmtoff) // 60
    clock = f"{at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d}"
    return f"{at.tm_mday:02d}/{_MONTHS[at.tm_mon - 1]}/{at.tm_year}:{clock} {sign}{offset // 60:02d}{offset % 60:02d}"


@lru_cache(64)
def _iso_time(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
