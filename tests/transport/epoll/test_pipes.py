"""Pipes: lent, given back, and never too many."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator

import pytest

from nodebalancer.transport.epoll.pipes import PIPE_BYTES, Pipe, PipePool


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    one.setblocking(False)
    other.setblocking(False)
    yield one, other
    one.close()
    other.close()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def filled(pipe: Pipe, ends: tuple[socket.socket, socket.socket], data: bytes) -> Pipe:
    ends[0].sendall(data)
    assert pipe.fill(ends[1].fileno(), PIPE_BYTES) == len(data)
    return pipe


def lent(pool: PipePool) -> Pipe:
    pipe = pool.lend()
    assert pipe is not None
    return pipe


def test_bytes_go_through_a_pipe_unchanged(ends: tuple[socket.socket, socket.socket]) -> None:
    pipe = filled(Pipe(PIPE_BYTES), ends, b"hello")
    assert pipe.held == 5
    assert pipe.drain(ends[1].fileno()) == 5
    assert pipe.held == 0
    assert ends[0].recv(10) == b"hello"
    pipe.close()


def test_an_empty_socket_and_an_ended_one_differ(ends: tuple[socket.socket, socket.socket]) -> None:
    pipe = Pipe(PIPE_BYTES)
    with pytest.raises(BlockingIOError):
        pipe.fill(ends[1].fileno(), 10)
    ends[0].shutdown(socket.SHUT_WR)
    assert pipe.fill(ends[1].fileno(), 10) == 0
    pipe.close()


def test_pipes_are_used_again() -> None:
    pool = PipePool()
    pipe = lent(pool)
    pool.take_back(pipe)
    assert pool.lend() is pipe
    assert pool.made == 1
    pool.take_back(pipe)
    pool.close()
    assert pool.made == 0


def test_pipes_pin_no_more_memory_than_they_may() -> None:
    """4,000 stalled readers must not pin 4 GB."""
    pool = PipePool(budget=2 * PIPE_BYTES)
    pipes = [lent(pool), lent(pool)]
    assert pool.lend() is None
    pool.take_back(pipes[0])
    assert pool.lend() is pipes[0]
    for pipe in pipes:
        pool.take_back(pipe)
    pool.close()


def test_a_budget_of_nothing_means_no_pipes() -> None:
    assert PipePool(budget=0).lend() is None


def test_small_pipes_are_no_help_and_are_not_asked_for_again() -> None:
    """An ordinary user gets small pipes when he has many."""
    pool = PipePool(size=4096)
    before = descriptors()
    assert pool.lend() is None
    assert pool.lend() is None
    assert (pool.made, descriptors()) == (0, before)


def test_a_size_that_the_kernel_refuses_leaves_its_own() -> None:
    pipe = Pipe(-1)
    assert pipe.size == 65536
    pipe.close()


def test_without_descriptors_there_is_no_pipe() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    pool = PipePool()
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        assert pool.lend() is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    pool.take_back(lent(pool))
    pool.close()


def test_a_pipe_that_still_carries_bytes_is_not_lent_again(ends: tuple[socket.socket, socket.socket]) -> None:
    """Nobody gets another connection's bytes."""
    before = descriptors()
    pool = PipePool()
    pool.take_back(filled(lent(pool), ends, b"secret"))
    assert (pool.made, descriptors()) == (0, before)
    fresh = lent(pool)
    assert fresh.held == 0
    pool.take_back(fresh)
    pool.close()
    assert descriptors() == before
