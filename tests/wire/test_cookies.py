"""Our cookie is taken out and set; other cookies are nobody's business."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodebalancer.wire.cookies import COOKIE, set_cookie, take_cookie
from nodebalancer.wire.http1.head import parse_request

BEGIN = b"GET /?NB_SRVID=target HTTP/1.1\r\nHost: a.example\r\n"
REST = b"X-About: NB_SRVID=other\r\nSet-Cookie: NB_SRVID=other\r\n"


def fields(*values: bytes) -> bytes:
    return b"".join(b"Cookie: %b\r\n" % value for value in values)


@pytest.mark.parametrize(
    ("sent", "value", "left"),
    [
        ([b"NB_SRVID=x"], b"x", []),
        ([b"NB_SRVID=x;"], b"x", []),
        ([b"a=1; NB_SRVID=x; b=2"], b"x", [b"a=1; b=2"]),
        ([b"NB_SRVID=x; a=1; b=2"], b"x", [b"a=1; b=2"]),
        ([b"a=1; b=2; NB_SRVID=x"], b"x", [b"a=1; b=2"]),
        ([b"a=1;NB_SRVID=x;b=2"], b"x", [b"a=1;b=2"]),
        ([b"a=1;  b = 2 ;\tNB_SRVID = x ; c"], b"x", [b"a=1;  b = 2 ; c"]),
        ([b"a=1; NB_SRVID=x;"], b"x", [b"a=1;"]),
        ([b"NB_SRVID=x; NB_SRVID=y; a=1"], b"x", [b"a=1"]),
        ([b"a=1", b"NB_SRVID=x", b"b=2"], b"x", [b"a=1", b"b=2"]),
        ([b"a=1; NB_SRVID=x", b"NB_SRVID=y; b=2"], b"x", [b"a=1", b"b=2"]),
        ([b"NB_SRVID=; a=1"], b"", [b"a=1"]),
        ([b'NB_SRVID="x=y"'], b'"x=y"', []),
        ([b"a=NB_SRVID=x"], b"", [b"a=NB_SRVID=x"]),
        ([b"nb_srvid=x; NB_SRVID2=x; XNB_SRVID=x"], b"", [b"nb_srvid=x; NB_SRVID2=x; XNB_SRVID=x"]),
        ([b"NB_SRVID; a=1"], b"", [b"NB_SRVID; a=1"]),
        ([], b"", []),
    ],
)
def test_only_our_cookie_is_taken_out(sent: list[bytes], value: bytes, left: list[bytes]) -> None:
    """R16; all else stays as it was, wherever the same letters stand."""
    assert take_cookie(BEGIN + fields(*sent) + REST) == (value, BEGIN + fields(*left) + REST)


@pytest.mark.parametrize("name", [b"Cookie", b"cookie", b"COOKIE"])
def test_the_field_is_found_however_it_is_spelt(name: bytes) -> None:
    lines = BEGIN + name + b": a=1; NB_SRVID=x\r\n"
    assert take_cookie(lines) == (b"x", BEGIN + name + b": a=1\r\n")


@given(
    st.lists(
        st.binary(max_size=12).map(lambda raw: bytes(byte for byte in raw if byte > 32 and byte != 59)), max_size=6
    )
)
def test_whatever_other_cookies_are_they_stay(others: list[bytes]) -> None:
    others = [other or b"a" for other in others if COOKIE not in other]
    lines = BEGIN + fields(b"; ".join([*others, b"NB_SRVID=x"]))
    assert take_cookie(lines) == (b"x", BEGIN + (fields(b"; ".join(others)) if others else b""))


@pytest.mark.parametrize("odd", [b"", b"cookie:NB_SRVID=y \r\n", b"TE: trailers\r\n", b"Date: Cookie: NB\r\n"])
def test_it_works_on_heads_as_they_are_parsed(odd: bytes) -> None:
    """Whichever way a head is read, its lines are such as we look for."""
    data = b"GET / HTTP/1.1\r\nHost: a.example\r\nCookie: NB_SRVID=x; b=2\r\n%bAccept: */*\r\n\r\n"
    head = parse_request(data % odd)
    assert head is not None
    value, lines = take_cookie(head.lines)
    assert value == b"x"
    assert COOKIE not in lines
    assert b"Cookie: b=2\r\n" in lines
    assert lines.startswith(b"GET / HTTP/1.1\r\nHost: a.example\r\n")
    assert b"\r\nAccept: */*\r\n" in lines


def test_a_long_field_of_many_cookies_takes_no_time_to_speak_of() -> None:
    """Work is linear: what fits in a head has 5,000 of ours at most."""
    assert take_cookie(BEGIN + fields(b";".join([b"NB_SRVID=x"] * 5000))) == (b"x", BEGIN)


def test_it_is_set_for_all_paths_and_out_of_reach_for_scripts() -> None:
    assert set_cookie(b"0123456789abcdef", secure=False) == (
        b"Set-Cookie: NB_SRVID=0123456789abcdef; Path=/; HttpOnly\r\n"
    )


def test_over_https_it_is_never_sent_in_the_clear() -> None:
    assert set_cookie(b"0123456789abcdef", secure=True) == (
        b"Set-Cookie: NB_SRVID=0123456789abcdef; Path=/; HttpOnly; Secure; SameSite=Lax\r\n"
    )
