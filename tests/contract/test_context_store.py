"""The ContextStore contract: the real store on a real Valkey and the fake pass the same suite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.fakes.context_store import FakeContextStore, FakeServer
from tests.store_fixtures import AMPLE, WHOLE, event, fresh_namespace, redis_store, redis_url, rule
from worker.flows import PartitionFlow
from worker.ports import ContextStore
from worker.records import Candidate, MatchRule, Partition, Query, Reference
from worker.store.context_store import RedisContextStore

__all__ = ["redis_url"]
Make = Callable[..., ContextStore]


@pytest.fixture(params=["valkey", "valkey by reference", "fake", "fake by reference"])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes stores that share one server and namespace, and keep values whole or none of them."""
    server, namespace = FakeServer(), fresh_namespace()
    usual = -1 if "reference" in request.param else WHOLE

    def fake(
        used: MatchRule, worker: str = "w1", bounds: tuple[int, int] = AMPLE, inline_bytes: int = usual
    ) -> ContextStore:
        return FakeContextStore(server, worker, {used.stream: used}, {used.stream: bounds}, inline_bytes=inline_bytes)

    def real(
        used: MatchRule, worker: str = "w1", bounds: tuple[int, int] = AMPLE, inline_bytes: int = usual
    ) -> ContextStore:
        rules: Mapping[str, MatchRule] = {used.stream: used}
        url: str = request.getfixturevalue("redis_url")
        return redis_store(
            url, rules, namespace=namespace, worker=worker, bounds={used.stream: bounds}, inline_bytes=inline_bytes
        )

    return real if request.param.startswith("valkey") else fake


def ask(store: ContextStore, time_us: int, token: str = "a", key: str = "k") -> Any:
    return store.match([Query("frames", key, time_us, token)])[0]


def test_never_seen(make: Make) -> None:
    """A key without events has no highest time, and its match is open."""
    found = ask(make(rule()), 1000)
    assert (found.complete, found.candidates, found.highest_us, found.bound) == (False, (), None, None)


def test_nearest_is_complete_as_soon_as_nothing_can_win(make: Make) -> None:
    """W = anchor + distance is enough; one microsecond less is not."""
    store = make(rule())
    store.index([event(960, "left"), event(1039, "later")])
    assert ask(store, 1000).candidates == (Candidate(1039, "later"),)
    store.index([event(1040, "tie")])
    assert ask(store, 1000).complete
    store = make(rule())
    store.index([event(960, "left", "other")])
    assert not ask(store, 1000, key="other").complete
    store.index([event(1040, "tie", "other")])
    found = ask(store, 1000, key="other")
    assert found.complete
    assert found.candidates == (Candidate(960, "left"),)


def test_nearest_without_a_candidate_waits_past_its_window(make: Make) -> None:
    """W = anchor + after is not enough; one microsecond more is."""
    store = make(rule(lateness_us=50))
    store.index([event(1150)])
    assert not ask(store, 1000).complete
    store.index([event(1151)])
    found = ask(store, 1000)
    assert (found.complete, found.candidates, found.highest_us) == (True, (), 1151)


def test_ids_break_ties_by_code_point(make: Make) -> None:
    """At one instant the smaller id by code point is matched, whatever the locale, on either side and in `latest`."""
    ids = ["z", "é", "a\x00b", "Z", "𝄞", "\uffff", "a"]
    for mode in ("nearest", "latest"):
        store = make(rule(mode))
        store.index([event(990, each, f"{mode}-k") for each in sorted(ids)])
        store.index([event(2000, "end", f"{mode}-k")])
        assert ask(store, 1000, key=f"{mode}-k").candidates == (Candidate(990, min(ids)),)


def test_latest_looks_back_only(make: Make) -> None:
    """`latest` takes the greatest time not after the anchor, and is complete at W = anchor."""
    store = make(rule("latest"))
    store.index([event(900, "old"), event(950, "new")])
    assert not ask(store, 1000).complete
    store.index([event(1000, "now")])
    found = ask(store, 1000)
    assert (found.complete, found.candidates) == (True, (Candidate(1000, "now"),))
    assert ask(store, 1101).candidates == ()


def test_window_cuts_to_the_nearest_in_time_order(make: Make) -> None:
    """Of an instant that does not fit whole the smallest ids stay, in the order of time and id."""
    store = make(rule("window", limit=3))
    store.index([event(950, "é"), event(950, "z"), event(950, "a"), event(1010, "b"), event(1200, "end")])
    found = ask(store, 1000)
    assert found.complete
    assert found.candidates == (Candidate(950, "a"), Candidate(950, "z"), Candidate(1010, "b"))


def test_first_stored_stays(make: Make) -> None:
    """The same event read again changes nothing and is not late."""
    store = make(rule())
    assert store.index([event(1000, value=b"first"), event(2000)]) == 0
    again = event(1000, value=b"second")
    assert store.index([replace(again, record=replace(again.record, offset=77))]) == 0
    (fetched,) = store.fetch([("frames", "k", Candidate(1000, "e"))])
    assert fetched in (event(1000, value=b"first").record, Reference.to(event(1000).record))


def test_late_events_are_counted_and_kept(make: Make) -> None:
    """Late is what does not come after W; without lateness an equal time with a smaller id is late too."""
    store = make(rule(lateness_us=100))
    assert store.index([event(1000), event(900, "at W"), event(901, "after W")]) == 1
    assert ask(store, 900).candidates == (Candidate(900, "at W"),)
    strict, ids = make(rule()), ["Z", "b", "é", "𝄞"]
    assert strict.index([event(1000, each, "s") for each in ids]) == 0
    assert strict.index([event(1000, "a", "s"), event(999, "d", "s")]) == 2
    assert [strict.index([event(1000, each, "each")]) for each in [*ids, "a"]] == [0, 0, 0, 0, 1]


def test_a_waiting_anchor_is_woken_once_at_its_own_worker(make: Make) -> None:
    """The event that completes an anchor wakes it at the worker that asked, whoever indexes, and only then."""
    mine, other = make(rule(), "w1"), make(rule(), "w2")
    ask(mine, 1000, "topic/0/1|with bar")
    ask(mine, 5000, "far")
    ask(other, 1000, "theirs")
    other.index([event(990)])
    assert mine.woken() == []
    other.index([event(1020, "f")])
    assert mine.woken() == ["topic/0/1|with bar"]
    assert mine.woken() == []
    assert other.woken() == ["theirs"]


def test_a_nearer_event_wakes_before_the_old_distance(make: Make) -> None:
    """Past the anchor's time an event that is nearer than the best so far ends the wait at once."""
    store = make(rule(lateness_us=0))
    store.index([event(920, "far")])
    ask(store, 1000)
    store.index([event(1000, "x", "unrelated")])
    assert store.woken() == []
    store.index([event(1030, "near")])
    assert store.woken() == ["a"]
    assert ask(store, 1000).candidates == (Candidate(1030, "near"),)


def test_a_nearer_event_wakes_while_it_waits_past_its_time(make: Make) -> None:
    """An anchor that asked when W was past its own time hears of the next event, not only of the last possible one."""
    store = make(rule(lateness_us=50))
    store.index([event(910, "far"), event(1060, "ahead")])
    assert not ask(store, 1000).complete
    store.index([event(1020, "near")])
    store.index([event(1070, "step")])
    assert store.woken() == ["a"]
    assert ask(store, 1000).complete


def test_an_anchor_that_asks_for_the_last_time_leaves_no_note(make: Make) -> None:
    """Else the notes of a stream that is dead would grow with every anchor, and all be told when it comes back."""
    store = make(rule())
    assert not ask(store, 1000).complete
    last = store.match([Query("frames", "k", 1000, "a", last=True)])[0]
    assert (last.complete, last.candidates) == (False, ())
    assert not store.match([Query("frames", "k", 1000, "b", last=True)])[0].complete
    store.index([event(2000)])
    assert store.woken() == []


def test_a_duplicate_wakes_what_a_lost_note_left(make: Make) -> None:
    """An anchor that registers after its event was stored is complete at once and needs no note."""
    store = make(rule())
    store.index([event(1200)])
    assert ask(store, 1000).complete
    store.index([event(1200)])
    assert store.woken() == []


@pytest.mark.parametrize(
    ("bounds", "inline_bytes", "changes", "name"),
    [
        ((2, 2**20), 1024, {}, "max_events_per_key"),
        ((100, 250_000), WHOLE, {}, "max_bytes_per_key"),
        ((100, 60), 1024, {}, "max_bytes_per_key"),
        (AMPLE, 1024, {"horizon_us": 0, "before_us": 100, "after_us": 0}, "horizon"),
    ],
)
def test_a_bound_that_costs_a_match_is_named(
    make: Make, bounds: tuple[int, int], inline_bytes: int, changes: dict[str, Any], name: str
) -> None:
    """The oldest go first, and a window that reaches into what went is told the bound's name."""
    store = make(rule(**changes), bounds=bounds, inline_bytes=inline_bytes)
    store.index([event(t, value=bytes(100_000)) for t in (1000, 1150, 1300)])
    early, recent = ask(store, 1050), ask(store, 1350 if name == "horizon" else 1400)
    assert (early.bound, recent.bound) == (name, None)
    assert store.fetch([("frames", "k", Candidate(1000, "e"))]) == [None]
    assert store.fetch([("frames", "k", Candidate(1300, "e"))]) != [None]


def test_the_first_claim_holds(make: Make) -> None:
    """One token alone gets an event, however often either asks, from whichever worker."""
    mine, other, wanted = make(rule(), "w1"), make(rule(), "w2"), Candidate(1000, "e")
    assert mine.claim("frames", "k", wanted, "a")
    assert not other.claim("frames", "k", wanted, "b")
    assert other.claim("frames", "k", wanted, "a")
    assert mine.claim("frames", "other key", wanted, "b")


def test_a_claim_goes_with_its_event(make: Make) -> None:
    """Else the claims of a camera whose frames cannot be decoded would grow for ever."""
    store = make(rule())
    store.index([event(1000)])
    assert store.claim("frames", "k", Candidate(1000, "e"), "texts/0/1")
    store.index([event(2000)])
    assert not store.claim("frames", "k", Candidate(1000, "e"), "texts/0/2")
    store.index([event(1_000_000), event(1_000_001)])
    assert store.claim("frames", "k", Candidate(1000, "e"), "texts/0/2")


def test_flow_of_all_workers(make: Make) -> None:
    """Everybody's partitions come back, with the server's clock."""
    mine, other = make(rule(), "w1"), make(rule(), "w2")
    assert mine.epoch() == other.epoch()
    first, second = PartitionFlow(5, None, None), PartitionFlow(None, 2**52, 7, False, 8, 9, 10, 11, False)
    mine.exchange_flow({Partition("frames", 0): first})
    flow = other.exchange_flow({Partition("a.b-c", 12): second})
    assert flow.partitions == {Partition("frames", 0): first, Partition("a.b-c", 12): second}
    assert mine.exchange_flow({}).partitions == flow.partitions
    assert flow.now_us > 0


def test_slots_are_the_lowest_free_numbers(make: Make) -> None:
    """Each worker holds its own; one that was given back is the next to be taken; a fenced worker takes another."""
    first, second, third = (make(rule(), worker) for worker in ("w1", "w2", "w3"))
    assert [first.lease_slot(), second.lease_slot()] == [0, 1]
    assert first.renew_slot()
    first.release_slot()
    assert third.lease_slot() == 0
    assert second.lease_slot() == 2
    assert second.renew_slot()


def test_what_lies_under_another_epoch_is_not_seen(make: Make) -> None:
    """Events and flow that were told after Redis was emptied, by a worker that did not know it yet, do not count."""
    old, new = make(rule(), "w1"), make(rule(), "w2")
    old.enter("e1")
    new.enter("e2")
    old.index([event(1000, "unseen"), event(2000, "later")])
    old.exchange_flow({Partition("t", 0): PartitionFlow(1, 2, 3)})
    assert ask(new, 1000).highest_us is None
    assert not new.exchange_flow({}).partitions
    new.index([event(1000, "seen")])
    assert ask(new, 1000).candidates == (Candidate(1000, "seen"),)
    old.enter("e2")
    assert ask(old, 1000).candidates == (Candidate(1000, "seen"),)


def test_an_orphaned_slot_is_adopted_by_one_and_buried(make: Make) -> None:
    """A lease that is held or was given back is no orphan."""
    first, second, third = (make(rule(), worker) for worker in ("w1", "w2", "w3"))
    assert first.lease_slot() == 0
    assert second.orphaned_slots() == []
    expire(first)
    assert second.orphaned_slots() == [0]
    assert (second.adopt_slot(0), third.adopt_slot(0), first.renew_slot()) == (True, False, False)
    assert (second.renew_slot(), second.has_adopted(0), third.has_adopted(0)) == (True, True, False)
    second.bury_slot(0)
    assert not second.has_adopted(0)
    assert third.orphaned_slots() == []
    assert third.lease_slot() == 0
    third.release_slot()
    assert second.orphaned_slots() == []


def expire(store: ContextStore) -> None:
    """The store's lease runs out."""
    if isinstance(store, FakeContextStore):
        store._server.expire_slots()
    elif isinstance(store, RedisContextStore):
        store._client.delete(store._slot_key(0))


def test_a_key_on_two_anchor_partitions_is_told_once(make: Make) -> None:
    """To the second one that asks, with the number of the first; every other key is silent."""
    store = make(rule())
    assert [ask(store, 1, f"texts/{p}/{n}").elsewhere for n, p in enumerate((2, 2, 1, 2, 1))] == [
        None, None, 2, None, None,
    ]  # fmt: skip
    assert ask(store, 1, "texts/1/9", key="other").elsewhere is None
