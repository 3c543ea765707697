"""The matches are the oracle's, for every order of arrival, batching and number of workers, on a real Valkey."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.oracle import match as expected
from tests.store_fixtures import event, fresh_namespace, redis_store, redis_url, rule
from worker.records import Candidate, MatchRule, Query
from worker.store.context_store import RedisContextStore

__all__ = ["redis_url"]

KEYS = ["k", "clé", "{k}:z"]
IDS = ["a", "b", "Z", "é", "\uffff", "𝄞", "a\x00", "a:1"]
EPOCH_US = 1_767_225_600_000_000


@dataclass(frozen=True)
class Arrival:
    """What is fed: per key events on time in an order of arrival, batches, and anchors asked at some batch."""

    rule: MatchRule
    batches: list[list[tuple[str, int, str]]]
    anchors: list[tuple[int, str, int]]
    workers: int


@st.composite
def arrivals(draw: st.DrawFn) -> Arrival:
    """Clustered times with ties; each event on time as CONTRACT 4.4 says it."""
    used = rule(
        draw(st.sampled_from(["nearest", "latest", "window"])),
        before_us=draw(st.integers(0, 12)),
        after_us=draw(st.integers(0, 12)),
        lateness_us=draw(st.sampled_from([0, 0, 1, 5, 20])),
        limit=draw(st.integers(1, 4)),
        horizon_us=1_000,
    )
    place = st.tuples(st.sampled_from(KEYS), st.integers(0, 40), st.sampled_from(IDS))
    line = sorted(draw(st.lists(place, max_size=30, unique=True)), key=lambda e: (e[1], e[2]))
    if used.lateness_us:
        # An event may be overtaken by events that are less than `lateness` later.
        shift = st.floats(0, used.lateness_us, exclude_max=True)
        line = [e for _, e in sorted(((e[1] + draw(shift), e) for e in line), key=lambda pair: pair[0])]
    line += draw(st.lists(st.sampled_from(line), max_size=5)) if line else []
    cuts = sorted(draw(st.lists(st.integers(0, len(line)), max_size=6)))
    batches = [line[a:b] for a, b in zip([0, *cuts], [*cuts, len(line)], strict=True)]
    asked = st.tuples(st.integers(0, len(batches)), st.sampled_from(KEYS), st.integers(0, 45))
    return Arrival(used, batches, draw(st.lists(asked, max_size=12)), draw(st.integers(1, 3)))


class Drive:
    """Several workers on one server: anchors ask, wait to be woken, and ask again."""

    def __init__(self, url: str, fed: Arrival) -> None:
        namespace = fresh_namespace()
        self.fed = fed
        self.stores: list[RedisContextStore] = [
            redis_store(url, {"frames": fed.rule}, namespace=namespace, worker=f"w{n}") for n in range(fed.workers)
        ]
        self.done: dict[int, tuple[Candidate, ...]] = {}

    def ask(self, numbers: Sequence[int]) -> None:
        """Anchor n belongs to worker n modulo their number."""
        for number in numbers:
            _, key, time = self.fed.anchors[number]
            query = Query("frames", key, EPOCH_US + time, str(number))
            found = self.stores[number % self.fed.workers].match([query])[0]
            if found.complete:
                assert self.done.setdefault(number, found.candidates) == found.candidates

    def run(self) -> None:
        """Feeds all batches; each is indexed by another worker."""
        for turn in range(len(self.fed.batches) + 1):
            self.ask([n for n, anchor in enumerate(self.fed.anchors) if anchor[0] == turn])
            if turn < len(self.fed.batches):
                events = [event(EPOCH_US + time, name, key) for key, time, name in self.fed.batches[turn]]
                late = self.stores[turn % self.fed.workers].index(events)
                assert late == 0
            for store in self.stores:
                self.ask([int(token) for token in store.woken()])

    def close(self) -> None:
        """Ends the connections."""
        for store in self.stores:
            store.close()


def must_be_complete(used: MatchRule, time: int, events: list[tuple[int, str]]) -> bool:
    """CONTRACT section 5, third column, at the end of all events."""
    if not events:
        return False
    reached = max(events)[0] - used.lateness_us
    found = expected(used, time, events)
    if used.mode == "latest":
        return reached >= time
    near = used.mode == "nearest" and bool(found) and reached >= time + abs(found[0].time_us - time)
    return near or reached > time + used.after_us


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fed=arrivals())
def test_matches_are_the_oracles_in_every_order(redis_url: str, fed: Arrival) -> None:
    """Complete matches equal the oracle's over all events, and every anchor that can be complete was woken."""
    drive = Drive(redis_url, fed)
    try:
        drive.run()
    finally:
        drive.close()
    for number, (_, key, time) in enumerate(fed.anchors):
        events = sorted({(EPOCH_US + t, name) for batch in fed.batches for k, t, name in batch if k == key})
        assert (number in drive.done) == must_be_complete(fed.rule, EPOCH_US + time, events)
        if number in drive.done:
            assert list(drive.done[number]) == expected(fed.rule, EPOCH_US + time, events)
