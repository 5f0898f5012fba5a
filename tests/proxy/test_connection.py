"""The tables of the lives of connections are whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import pytest

from nodebalancer.proxy import tcp
from nodebalancer.proxy.connection import ENDED, HAPPENINGS, IGNORE, NEVER, ClientSide, Row, row
from nodebalancer.proxy.http import client

CLIENT = cast(ClientSide, None)

STATES: Mapping[str, Row] = {
    **{f"tcp {name}": state for name, state in tcp.STATES.items()},
    **{f"http {name}": state for name, state in client.STATES.items()},
    "ended": ENDED,
}

PAUSED = {"client_sent", "client_finished"}
NO_NODE = {"node_connected", "node_unreachable", "node_sent", "node_finished", "node_lost"}
DIALLED = {"node_connected", "node_unreachable"}

IMPOSSIBLE: Mapping[str, set[str]] = {
    # Paused, and the dial is the only thing that is under way; its time-out is the engine's.
    "tcp dialling": PAUSED | {"node_sent", "node_finished", "node_lost", "expired"},
    # Relays take all data.
    "tcp relaying": DIALLED | {"client_sent", "node_sent"},
    "tcp client_finished": DIALLED | PAUSED | {"node_sent"},
    "tcp node_finished": DIALLED | {"client_sent", "node_sent", "node_finished"},
    "tcp finished": DIALLED | PAUSED | {"node_sent", "node_finished"},
    "http reading": NO_NODE,
    "http dialling": {"node_sent", "node_finished", "node_lost"},
    "http uploading": DIALLED,
    "http waiting": DIALLED,
    "http answered_early": DIALLED,
    "http responding": DIALLED,
    "http lingering": set(),
    "http closing": set(),
    "ended": DIALLED,
}


@pytest.mark.parametrize("name", STATES)
def test_every_happening_is_handled_or_known_to_be_impossible(name: str) -> None:
    """No state of a connection leaves open what is done about something that can happen in it."""
    state = STATES[name]
    assert set(state) == set(HAPPENINGS)
    impossible = {happening for happening, handler in state.items() if handler is NEVER}
    assert impossible == IMPOSSIBLE[name.replace("http tunnel_", "tcp ")]


@pytest.mark.parametrize("name", STATES)
def test_every_state_can_be_stopped_and_can_lose_its_client(name: str) -> None:
    """The end of the service and of a client are possible at any time."""
    state = STATES[name]
    assert state["stopped"] is not NEVER
    assert state["client_lost"] is not NEVER


def test_the_impossible_is_an_assertion() -> None:
    """Should a fault of ours make the impossible happen, it says so instead of going on."""
    with pytest.raises(AssertionError, match="impossible"):
        NEVER(CLIENT)


def test_what_does_not_matter_is_ignored() -> None:
    IGNORE(CLIENT, b"whatever")


def test_a_row_takes_happenings_only() -> None:
    """A slip of the pen in a table fails at import."""
    with pytest.raises(KeyError):
        row(client_sneezed=IGNORE)
