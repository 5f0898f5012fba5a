"""Sockets and signs of life pass as systemd passes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodebalancer.testing.manager import Manager
from nodebalancer.testing.nodes import LOOPBACK, answers, free_port

INI = "[nodebalancer www]\nlisten = {host}\n[config www/web]\nport = {port}\ncheck = none\n"


@pytest.mark.integration
def test_a_balancer_gets_the_sockets_and_says_that_it_is_ready(tmp_path: Path) -> None:
    port = free_port()
    with Manager(tmp_path, [port]) as manager:
        program = manager.start(INI.format(host=LOOPBACK, port=port), "one")
        assert answers(port)
        program.stop()
        assert answers(port)
        manager.forget()
        with pytest.raises(TimeoutError):
            manager.hear("READY=1", 0.1)
    assert not answers(port)
