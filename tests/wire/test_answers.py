"""Our own responses."""

from __future__ import annotations

import re

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodebalancer.errors import MessageError
from nodebalancer.wire.answers import PAGE_BYTES_MAX, REPLACEABLE, answer, read_page, redirect
from nodebalancer.wire.http1.head import RequestHead, parse_request

DATE = b"Fri, 21 Nov 2025 06:29:00 GMT"
STATUSES = (200, 308, 400, 405, 408, 414, 417, 431, 500, 501, 502, 503, 504, 505)


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


def asked(line: bytes = b"GET /a?b=c HTTP/1.1", host: bytes = b"Host: shop.example\r\n") -> RequestHead:
    head = parse_request(line + b"\r\n" + host + b"\r\n")
    assert head is not None
    return head


@pytest.mark.parametrize(
    ("request_", "port", "location"),
    [
        (asked(), 443, b"https://shop.example/a?b=c"),
        (asked(), 8443, b"https://shop.example:8443/a?b=c"),
        (asked(host=b"Host: shop.example:8080\r\n"), 443, b"https://shop.example/a?b=c"),
        (asked(host=b"Host: shop.example:\r\n"), 8443, b"https://shop.example:8443/a?b=c"),
        (asked(host=b"Host: [2001:db8::80]\r\n"), 443, b"https://[2001:db8::80]/a?b=c"),
        (asked(host=b"Host: [2001:db8::1]:80\r\n"), 8443, b"https://[2001:db8::1]:8443/a?b=c"),
        (asked(b"GET http://shop.example:81/x HTTP/1.0", b""), 443, b"https://shop.example/x"),
        (asked(b"GET //evil.example/ HTTP/1.1"), 443, b"https://shop.example//evil.example/"),
        (asked(b"GET /%0d%0aSet-Cookie:x HTTP/1.1"), 443, b"https://shop.example/%0d%0aSet-Cookie:x"),
        (asked(b"OPTIONS * HTTP/1.1"), 443, b"https://shop.example/"),
        (asked(b"POST / HTTP/1.1"), 443, b"https://shop.example/"),
    ],
)
def test_a_redirect_leads_to_the_same_target_over_https(request_: RequestHead, port: int, location: bytes) -> None:
    response, fields, body = seen(redirect(request_, port, date=DATE))
    assert response.status_code == 308
    assert fields[b"location"] == location
    assert fields[b"connection"] == b"close"
    assert fields[b"cache-control"] == b"no-store"
    assert b"shop" not in body
    assert len(body) == int(fields[b"content-length"])


def test_a_redirect_of_head_has_no_page() -> None:
    assert redirect(asked(b"HEAD / HTTP/1.1"), 443, date=DATE).endswith(b"\r\nConnection: close\r\n\r\n")


def test_who_names_no_host_cannot_be_redirected() -> None:
    with pytest.raises(MessageError, match="redirect") as caught:
        redirect(asked(b"GET / HTTP/1.0", b""), 443, date=DATE)
    assert caught.value.status == 400


HOSTS = st.text("abc.-_~%!$&'()*+,;=:[]@/?#\\\" \t\r\n\0\xe4", min_size=1, max_size=8).map(str.encode)
TARGETS = st.text("abc/.-_~%!$&'()*+,;=:[]@?#\\\"<>{}|^` \t\r\n\0\xe4", max_size=12).map(str.encode)


@settings(max_examples=300)
@given(HOSTS, TARGETS)
def test_nothing_gets_into_a_redirect_but_a_location(host: bytes, target: bytes) -> None:
    try:
        head = parse_request(b"GET /" + target + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
    except MessageError:
        return
    if head is not None:
        _, fields, _ = seen(redirect(head, 8443, date=DATE))
        assert set(fields) == {
            b"date",
            b"content-type",
            b"content-length",
            b"cache-control",
            b"location",
            b"connection",
        }
        named, _, path = fields[b"location"].removeprefix(b"https://").partition(b":8443/")
        assert (named, b"/" + path) == (re.sub(rb":[0-9]*$", b"", head.host), head.target)


OWN = (
    b"HTTP/1.0 503 Gone Fishing\r\nDate: then\r\nContent-Type: text/plain\r\nConnection: keep-alive\r\n\r\nback at ten"
)


def test_a_body_of_the_operator_gets_our_head() -> None:
    status, page = read_page("503.html", "<p>Schön geht anders</p>".encode())
    response, fields, body = seen(answer(503, date=DATE, pages={status: page}))
    assert (response.status_code, response.reason) == (503, b"Service Unavailable")
    assert body.decode() == "<p>Schön geht anders</p>"
    assert fields[b"content-type"] == b"text/html; charset=utf-8"
    assert fields.keys() == seen(answer(503, date=DATE))[1].keys()


def test_a_response_of_the_operator_keeps_its_fields() -> None:
    """As far as they describe it: when it is sent and when the connection ends is ours to say."""
    status, page = read_page("503.http", OWN)
    response, fields, body = seen(answer(503, date=DATE, proxy_error="connection_refused", pages={status: page}))
    assert (response.status_code, response.reason, body) == (503, b"Gone Fishing", b"back at ten")
    assert fields == {
        b"date": DATE,
        b"content-type": b"text/plain",
        b"content-length": b"11",
        b"cache-control": b"no-store",
        b"retry-after": b"10",
        b"proxy-status": b"nodebalancer; error=connection_refused",
        b"connection": b"close",
    }


def test_what_the_operator_says_of_caching_and_retrying_holds() -> None:
    said = OWN.replace(b"Date: then", b"CACHE-CONTROL: max-age=5\r\nretry-after: 60\r\nContent-Length: 11")
    _, fields, _ = seen(answer(503, date=DATE, pages=dict([read_page("503.http", said)])))
    assert (fields[b"cache-control"], fields[b"retry-after"], fields[b"content-length"]) == (b"max-age=5", b"60", b"11")


def test_a_405_of_the_operator_says_what_is_allowed() -> None:
    """RFC 9110 15.5.6 says MUST."""
    pages = dict([read_page("405.http", b"HTTP/1.1 405 No\r\n\r\n")])
    assert b"GET" in seen(answer(405, date=DATE, pages=pages))[1][b"allow"]


def test_head_gets_no_page_of_the_operator_either() -> None:
    pages = dict([read_page("503.http", OWN)])
    whole = answer(503, date=DATE, pages=pages)
    assert answer(503, date=DATE, method=b"HEAD", pages=pages) + b"back at ten" == whole


def test_other_pages_stay_ours() -> None:
    pages = dict([read_page("503.http", OWN)])
    assert answer(502, date=DATE, pages=pages) == answer(502, date=DATE)


@pytest.mark.parametrize("status", sorted(REPLACEABLE))
def test_every_error_may_have_a_page_of_the_operator(status: int) -> None:
    read, page = read_page(f"{status}.http", b"HTTP/1.1 %d Oh\r\n\r\nno" % status)
    assert read == status
    assert seen(answer(status, date=DATE, pages={status: page}))[2] == b"no"


@pytest.mark.parametrize(
    ("name", "contents", "problem"),
    [
        ("50x.html", b"x", "expected STATUS.http or STATUS.html, where STATUS is 400, 405,"),
        ("503.htm", b"x", "expected STATUS.http"),
        ("404.html", b"x", "expected STATUS.http"),
        ("308.http", b"x", "expected STATUS.http"),
        ("503.html", b"", "is empty"),
        ("503.html", b"\xff", "is not in UTF-8"),
        ("503.html", b"x" * (PAGE_BYTES_MAX + 1), "longer than 65536 bytes"),
        ("503.http", OWN.replace(b"\r\n", b"\n"), "bare LF.* ends with CR LF"),
        ("503.http", b"<p>sorry</p>", "is no HTTP response"),
        ("503.http", b"HTTP/1.1 503 No\r\nA: b\r\n", "does not end with an empty line"),
        ("503.http", OWN.replace(b"503", b"502"), "is a response of status 502; expected 503"),
        ("503.http", OWN.replace(b"Date: then", b"Content-Length: 5"), "has a body of 11 bytes"),
        (
            "503.http",
            OWN.replace(b"0 503 Gone Fishing\r\nDate: then", b"1 503 X\r\nTransfer-Encoding: chunked"),
            "has a body of 11 bytes",
        ),
    ],
)
def test_a_page_that_cannot_be_sent_is_refused_in_words(name: str, contents: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_page(name, contents)
