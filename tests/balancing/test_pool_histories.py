"""All of the pool's rules together, over any history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from nodebalancer.balancing.outcome import Outcome
from nodebalancer.balancing.pool import Member, Pool, Status
from nodebalancer.fields import Address
from nodebalancer.model import Algorithm, Check, Mode, Node, PortConfig, Stickiness
from nodebalancer.testing.builders import config, node

NAMES = "abcd"
CLIENTS = st.sampled_from(("198.51.100.7", "198.51.100.8", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::2"))
TTL = 30
ENTRIES = 100

NODES = st.fixed_dictionaries(
    {},
    optional={
        name: st.builds(
            node,
            st.just(name),
            st.builds(Address, st.just("192.0.2.1"), st.sampled_from((1, 1, 1, 2))),
            weight=st.sampled_from((1, 2, 100, 255)),
            mode=st.sampled_from((Mode.ACCEPT, Mode.ACCEPT, *Mode)),
        )
        for name in NAMES
    },
)
RULES = st.builds(
    config,
    st.just("web"),
    algorithm=st.sampled_from(Algorithm),
    stickiness=st.sampled_from((*Stickiness, Stickiness.TABLE)),
    check=st.sampled_from((Check.NONE, Check.HTTP)),
    slow_start=st.sampled_from((0, 20)),
    stickiness_ttl=st.just(TTL),
    stickiness_entries=st.just(ENTRIES),
)


@settings(max_examples=120, stateful_step_count=50, deadline=None)
class Histories(RuleBasedStateMachine):
    """Picks, releases, changes of status and reloads in any order, and time that passes."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = Pool({}, "www", b"key")
        self.wanted: PortConfig = config("web")
        self.now = 0.0
        self.seen: set[Member] = set()
        self.waiting: set[Member] = set()
        self.open: list[Member] = []
        self.picks: Counter[Member] = Counter()
        self.releases: Counter[tuple[Member, Outcome]] = Counter()
        self.flaps: Counter[Member] = Counter()
        # What a table has to know, oldest first: the client's node and the time of its last connection.
        self.table: dict[str, tuple[Member, float]] = {}

    @rule(nodes=NODES, rules=RULES)
    def reload(self, nodes: Mapping[str, Node], rules: PortConfig) -> None:
        self._update(nodes, rules)

    @rule(name=st.sampled_from(NAMES), mode=st.sampled_from(Mode))
    def change_mode(self, name: str, mode: Mode) -> None:
        nodes = {each: member.node for each, member in self.pool.members.items()}
        if name in nodes:
            old = nodes[name]
            self._update({**nodes, name: node(name, old.address, weight=old.weight, mode=mode)}, self.wanted)

    def _update(self, nodes: Mapping[str, Node], rules: PortConfig) -> None:
        before = dict(self.pool.members)
        self.pool.update(nodes, rules)
        for name, member in self.pool.members.items():
            stays = name in before and before[name].node.address == nodes[name].address
            assert (before.get(name) is member) == stays
            if not stays and before:
                self.waiting.add(member)
        assert list(self.pool.members) == list(nodes)
        self.wanted = rules
        members = self.pool.members.values()
        self.seen |= set(members)
        self.waiting &= set(members) if rules.check is not Check.NONE else set()
        if rules.stickiness is not Stickiness.TABLE:
            self.table.clear()
        self._forget(member for member in self.seen if member not in members or member.node.mode is Mode.REJECT)

    def _forget(self, members: Iterable[Member]) -> None:
        gone = set(members)
        self.table = {client: entry for client, entry in self.table.items() if entry[0] not in gone}

    @rule(name=st.sampled_from(NAMES), status=st.sampled_from(Status))
    def see(self, name: str, status: Status) -> None:
        member = self.pool.members.get(name)
        if member is None:
            return
        changes = member.status is not status
        assert self.pool.set_status(member, status, "seen", self.now) == changes
        assert member.status is status
        self.flaps[member] += changes
        if changes:
            self.waiting.discard(member)
        if status is Status.DOWN:
            self._forget([member])

    @rule(seconds=st.sampled_from((0.5, 3.0, 10.0, 29.0, 40.0)))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(client=CLIENTS, tried=st.sets(st.sampled_from(NAMES), max_size=2), cookie=st.sampled_from((*NAMES, "")))
    def pick(self, client: str, tried: set[str], cookie: str) -> None:
        members = self.pool.members
        value = members[cookie].cookie if cookie in members else b"foreign"
        passed_over = tuple(member for name, member in members.items() if name in tried)
        names, known = self._may_be_picked()
        named = self._named(client, value)
        picked = self.pool.pick(client, self.now, passed_over, value)
        if named in known and named not in passed_over:
            assert picked is named
        elif picked is None:
            assert names <= set(passed_over)
        else:
            assert picked in names
            assert picked not in passed_over
        if picked is None:
            return
        assert picked.node.mode is not Mode.REJECT
        assert picked.status is not Status.DOWN
        assert picked.node.mode is not Mode.DRAIN or picked is named
        self.picks[picked] += 1
        self.open.append(picked)
        if self.wanted.stickiness is Stickiness.TABLE:
            key = client.rpartition(":")[0] or client
            self.table.pop(key, None)
            self.table[key] = (picked, self.now)

    def _may_be_picked(self) -> tuple[set[Member], set[Member]]:
        """For any client, and for one whose stickiness names it; said in other words than the pool says it."""
        healthy = {m for m in self.pool.members.values() if m.status is not Status.DOWN}
        for these in (healthy - self.waiting, healthy):
            modes = {mode: {m for m in these if m.node.mode is mode} for mode in Mode}
            for_any = modes[Mode.ACCEPT] or modes[Mode.BACKUP]
            if for_any:
                break
        return for_any, for_any | modes[Mode.DRAIN]

    def _named(self, client: str, cookie: bytes) -> Member | None:
        if self.wanted.stickiness is Stickiness.HTTP_COOKIE:
            return next((m for m in self.pool.members.values() if m.cookie == cookie), None)
        member, last = self.table.get(client.rpartition(":")[0] or client, (None, 0.0))
        return member if self.now - last < TTL else None

    @rule(data=st.data(), outcome=st.sampled_from(Outcome))
    def release(self, data: st.DataObject, outcome: Outcome) -> None:
        if self.open:
            member = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
            self.pool.release(member, outcome)
            self.releases[member, outcome] += 1

    @invariant()
    def counts_are_true(self) -> None:
        for member in self.seen:
            assert member.open == self.open.count(member)
            assert member.picks == self.picks[member]
            assert member.outcomes == [self.releases[member, outcome] for outcome in Outcome]
            assert member.releases == sum(member.outcomes)
            assert member.flaps == self.flaps[member]

    def teardown(self) -> None:
        """At rest nothing is open anywhere, on nodes that were removed neither."""
        for member in self.open:
            self.pool.release(member, Outcome.STOPPED)
        assert [member for member in self.seen if member.open] == []


test_all_rules_hold_over_any_history = Histories.TestCase
