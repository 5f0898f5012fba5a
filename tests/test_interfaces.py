"""What goes over the seams could go to another process."""

from __future__ import annotations

import pickle

from nodebalancer.changes import plan
from nodebalancer.errors import Problem
from nodebalancer.model import NOTHING
from nodebalancer.testing.builders import config, node, nodebalancer, settings


def test_what_followers_are_asked_and_answer_can_be_pickled() -> None:
    """A worker process can follow the settings as a part of this one does."""
    one = settings(nodebalancer("www", config("web", node("a"), node("b"))), nodebalancer("gone"))
    other = settings(nodebalancer("www", config("web", node("a", weight=3)), config("new")))
    for wanted, changes in ((one, plan(NOTHING, one)), (other, plan(one, other))):
        for sent in (wanted, changes, (Problem("[config www/web] port", "taken"),)):
            assert pickle.loads(pickle.dumps(sent)) == sent
