"""Our own responses."""

from __future__ import annotations

import h11
import pytest

from nodebalancer.wire.answers import answer

DATE = b"Fri, 21 Nov 2025 06:29:00 GMT"
STATUSES = (200, 400, 405, 408, 414, 417, 431, 500, 501, 502, 503, 504, 505)


def seen(data: bytes, method: bytes = b"GET") -> tuple[h11.Response, dict[bytes, bytes], bytes]:
    """The response as a client reads it, with nothing after it."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    response = client.next_event()
    assert isinstance(response, h11.Response)
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert client.trailing_data == (b"", False)
    return response, dict(response.headers), body


@pytest.mark.parametrize("status", STATUSES)
def test_an_answer_is_small_plain_and_final(status: int) -> None:
    response, fields, body = seen(answer(status, date=DATE))
    assert response.status_code == status
    assert fields[b"date"] == DATE
    assert fields[b"connection"] == b"close"
    assert fields[b"cache-control"] == b"no-store"
    assert len(body) == int(fields[b"content-length"]) < 200
    assert (b"content-type" in fields) is bool(body)
    assert b"proxy-status" not in fields
    assert body == b"" or body.startswith(b"<html><body><h1>%d %b</h1>" % (status, response.reason))


def test_the_503_is_the_stock_page() -> None:
    _, fields, body = seen(answer(503, date=DATE))
    assert body == (
        b"<html><body><h1>503 Service Unavailable</h1>\nNo server is available to handle this request.\n</body></html>"
    )
    assert int(fields[b"retry-after"]) > 0


@pytest.mark.parametrize("status", STATUSES)
def test_head_gets_the_same_head_without_a_page(status: int) -> None:
    whole = answer(status, date=DATE)
    page = seen(whole)[2]
    assert answer(status, date=DATE, method=b"HEAD") + page == whole
    assert seen(whole[: len(whole) - len(page)], b"HEAD")[2] == b""


def test_who_asks_with_a_wrong_method_is_told_the_right_ones() -> None:
    allowed = seen(answer(405, date=DATE))[1][b"allow"].split(b", ")
    assert b"GET" in allowed
    assert not {b"CONNECT", b"TRACE"} & set(allowed)


def test_a_node_at_fault_is_told_in_proxy_status() -> None:
    fields = seen(answer(504, date=DATE, proxy_error="connection_timeout"))[1]
    assert fields[b"proxy-status"] == b"nodebalancer; error=connection_timeout"


def test_more_fields_may_be_added() -> None:
    fields = seen(answer(503, date=DATE, extra=b"X-One: 1\r\nX-Two: 2\r\n"))[1]
    assert (fields[b"x-one"], fields[b"x-two"]) == (b"1", b"2")
