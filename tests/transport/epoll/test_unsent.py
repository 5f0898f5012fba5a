"""What waits to be sent, in order, from our memory and from pipes."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodebalancer.transport.epoll.pipes import PIPE_BYTES, PipePool
from nodebalancer.transport.epoll.unsent import PIECES_MAX, Unsent

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    one, other = socket.socketpair()
    one.setblocking(False)
    other.setblocking(False)
    yield one, other
    one.close()
    other.close()


@settings(max_examples=30)
@given(st.lists(st.integers(1, 300_000), min_size=1, max_size=2 * PIECES_MAX))
def test_pieces_arrive_whole_and_in_order(sizes: list[int]) -> None:
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        other.setblocking(False)
        pieces = [bytes([number % 251]) * min(size, 4_000_000 // len(sizes)) for number, size in enumerate(sizes)]
        unsent = Unsent(PipePool())
        for piece in pieces:
            unsent.add(piece)
        assert unsent.bytes == sum(map(len, pieces))
        arrived = bytearray()
        while unsent.bytes or len(arrived) < sum(map(len, pieces)):
            with contextlib.suppress(BlockingIOError):
                unsent.send(one.fileno())
            arrived += other.recv(1 << 22)
        assert arrived == b"".join(pieces)


def test_a_pipe_comes_before_what_was_added_after_it_and_goes_back(ends: Ends) -> None:
    pipes = PipePool()
    pipe = pipes.lend()
    assert pipe is not None
    ends[1].send(b"first ")
    pipe.fill(ends[0].fileno(), PIPE_BYTES)
    unsent = Unsent(pipes)
    unsent.begin_with(pipe)
    unsent.add(b"second")
    assert unsent.bytes == 12
    unsent.send(ends[0].fileno())
    assert unsent.bytes == 0
    assert ends[1].recv(100) == b"first second"
    assert pipes.lend() is pipe
    pipes.take_back(pipe)
    pipes.close()


def test_what_is_forgotten_gives_its_pipe_back_once(ends: Ends) -> None:
    pipes = PipePool()
    pipe = pipes.lend()
    assert pipe is not None
    ends[1].send(b"forgotten")
    pipe.fill(ends[0].fileno(), PIPE_BYTES)
    unsent = Unsent(pipes)
    unsent.begin_with(pipe)
    unsent.forget()
    unsent.forget()
    assert pipes.made == 0
