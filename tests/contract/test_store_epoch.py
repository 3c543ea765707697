"""The epoch vouches for what a store holds: the real one on a real Valkey and the fake pass the same suite."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from tests.contract.world import World, world
from tests.store_fixtures import event, redis_url, rule
from worker.errors import Retryable
from worker.ports import ContextStore
from worker.records import Candidate, Query
from worker.store.lifetime import Lifetime

__all__ = ["redis_url", "world"]
RULE = rule()
LIFE = Lifetime.of([RULE])
EPOCH_MS, DATA_MS = LIFE.epoch_ms, LIFE.data_ms


def entered(world: World, worker: str = "w1") -> tuple[ContextStore, str]:
    """A store in the epoch of now."""
    store = world.store(RULE, worker)
    epoch = store.epoch()
    store.enter(epoch)
    return store, epoch


def is_kept(store: ContextStore, time_us: int, key: str = "k") -> bool:
    return store.fetch([("frames", key, Candidate(time_us, "e"))])[0] is not None


def exchange(store: ContextStore, needed_us: int | None) -> bool:
    """Often enough for a pass over a few keys; True while the epoch holds, which is asked for as the loop does it."""
    epoch = store.epoch()
    for _ in range(4):
        store.exchange_flow({}, needed_us)
        if store.epoch() != epoch:
            return False
    return True


def test_the_epoch_ends_before_what_it_vouches_for(world: World) -> None:
    """A pool that is down for long finds either all that it left, or another epoch."""
    store, epoch = entered(world)
    store.index([event(1000)])
    for _ in range(12):
        world.pass_time(DATA_MS // 10)
        other = world.store(RULE, "w2")
        assert is_kept(store, 1000) or other.epoch() != epoch
    assert other.epoch() != epoch


def test_a_key_that_is_silent_while_its_anchors_lag_is_kept(world: World) -> None:
    """Kafka is away for long, or the model is slow: the workers turn, and what anchors still want does not expire."""
    store, epoch = entered(world)
    store.index([event(1000, key="silent"), event(500, key="passed")])
    assert not store.match([Query("frames", "asked", 1000, "a")])[0].complete
    for _ in range(12):
        world.pass_time(EPOCH_MS // 3)
        assert exchange(store, 800)
    assert store.epoch() == epoch
    assert is_kept(store, 1000, "silent")
    assert not is_kept(store, 500, "passed")
    store.index([event(5000, key="asked")])
    assert store.woken() == ["a"]


def test_a_key_used_once_lives_about_a_horizon(world: World) -> None:
    """While anchors go on, the epoch does, and what they have passed does not."""
    store, epoch = entered(world)
    store.index([event(1000, key="once")])
    for n in range(1, 10):
        world.pass_time(DATA_MS // 8)
        store.index([event(1000 + n * 10**6)])
        assert exchange(store, n * 10**6)
    assert store.epoch() == epoch
    assert not is_kept(store, 1000, "once")
    assert LIFE.data_ms < 10 * 60_000


def test_without_anything_told_everything_is_kept(world: World) -> None:
    """Before all partitions are known nobody can say what is needed."""
    store, epoch = entered(world)
    store.index([event(1000)])
    for _ in range(12):
        world.pass_time(EPOCH_MS // 3)
        assert exchange(store, None)
    assert store.epoch() == epoch
    assert is_kept(store, 1000)


def test_a_worker_that_stood_still_does_not_prolong_what_it_has_not_seen(world: World) -> None:
    """It was away for longer than an epoch lives: what anchors passed meanwhile says nothing of what was touched."""
    stood, epoch = entered(world, "w1")
    exchange(stood, 0)
    world.pass_time(EPOCH_MS - 1_000)
    other, _ = entered(world, "w2")
    exchange(other, 0)
    other.index([event(5000, key="silent")])
    world.pass_time(EPOCH_MS - 1_000)
    exchange(other, 2000)
    world.pass_time(EPOCH_MS - 1_000)
    stood.exchange_flow({}, 2000)
    world.pass_time(DATA_MS - 2 * EPOCH_MS + 4_000)
    assert not is_kept(stood, 5000, "silent")
    assert stood.epoch() != epoch


@pytest.mark.parametrize("call", ["match", "fetch", "exchange_flow"])
def test_each_answer_tells_the_epoch_it_was_given_in(world: World, call: str) -> None:
    """Without being asked for it: what is decided on such an answer needs no question of its own."""
    store, epoch = entered(world)
    ask = {
        "match": lambda: store.match([Query("frames", "k", 1000, "a", last=True)]),
        "fetch": lambda: store.fetch([("frames", "k", Candidate(1000, "e"))]),
        "exchange_flow": lambda: store.exchange_flow({}),
    }[call]
    ask()
    assert store.seen_epoch() == epoch
    world.pass_time(EPOCH_MS + 1)
    assert store.seen_epoch() == epoch
    ask()
    assert store.seen_epoch() != epoch
    store.enter(store.epoch())
    ask()
    assert store.seen_epoch() not in (epoch, "")


@dataclass
class Walk:
    """Anchors at `at_us` that go on, stand or stop; what was indexed in this epoch."""

    store: ContextStore
    epoch: str
    at_us: int = 1000
    indexed: dict[str, int] = field(default_factory=dict)

    def needed(self) -> int:
        return self.at_us - 200

    def check(self) -> None:
        """Everything an anchor may still want is there, or the epoch says that it is not."""
        gone = [key for key, time in self.indexed.items() if time >= self.at_us - 200 and not self.is_kept(key)]
        epoch = self.store.epoch()
        assert not gone or epoch != self.epoch
        if epoch != self.epoch:
            self.store.enter(epoch)
            self.epoch, self.indexed = epoch, {}

    def is_kept(self, key: str) -> bool:
        return is_kept(self.store, self.indexed[key], key)


@pytest.mark.parametrize("seed", range(8))
def test_what_may_be_wanted_is_there_or_the_epoch_has_ended(world: World, seed: int) -> None:
    """Whatever the pace of anchors, of wall time and of exchanges."""
    chance = random.Random(seed)
    walk = Walk(*entered(world))
    for n in range(60):
        world.pass_time(chance.choice([100, EPOCH_MS // 10, EPOCH_MS // 2, EPOCH_MS * chance.randint(0, 1)]))
        walk.check()
        time_us = walk.at_us + chance.randint(0, 500)
        walk.store.index([event(time_us, key=str(n))])
        walk.indexed[str(n)] = time_us
        walk.at_us += chance.choice([0, 0, 100, 2_000])
        for _ in range(chance.randint(0, 3)):
            walk.store.exchange_flow({}, walk.needed() if chance.random() < 0.9 else None)
            walk.check()


def test_the_keys_of_an_epoch_that_ended_go_soon(world: World) -> None:
    """A fail-over does not take twice the memory for long; what is of now stays."""
    store, old = entered(world)
    store.index([event(1000, key=f"k{n}") for n in range(20)])
    assert world.keys_of(old) >= 20
    world.pass_time(EPOCH_MS + 1)
    new = store.epoch()
    store.enter(new)
    store.index([event(1000, key=f"k{n}") for n in range(20)])
    exchange(store, None)
    exchange(store, None)
    assert world.keys_of(old) == 0
    assert all(is_kept(store, 1000, f"k{n}") for n in range(20))


def test_a_worker_of_an_ended_epoch_takes_nothing_away(world: World) -> None:
    """It has not heard yet; the keys of the new epoch are the ones in force."""
    late, old = entered(world, "w1")
    world.pass_time(EPOCH_MS + 1)
    quick, new = entered(world, "w2")
    assert new != old
    quick.index([event(1000)])
    exchange(late, None)
    late.exchange_flow({}, None)
    assert is_kept(quick, 1000)


@pytest.mark.parametrize("part", ["z", "p", "m", "q", "c"])
def test_a_key_that_lost_a_part_answers_nothing(world: World, part: str) -> None:
    """Evicted or deleted, whichever part it was: the epoch ends, and context is read again."""
    store, epoch = entered(world)
    store.index([event(900), event(1000)])
    store.match([Query("frames", "k", 5000, "a")])
    store.claim("frames", "k", Candidate(1000, "e"), "texts/0/1")
    world.lose(part)
    with pytest.raises(Retryable, match="lost a part"):
        store.match([Query("frames", "k", 1000, "b")])
    assert store.epoch() != epoch
    store.enter(store.epoch())
    store.index([event(1000)])
    assert is_kept(store, 1000)


@pytest.mark.parametrize("part", ["m", "q"])
def test_a_key_that_holds_notes_alone_and_lost_a_part_is_no_new_key(world: World, part: str) -> None:
    """Else its first event would wake nobody, and whoever waits for it would wait in vain."""
    store, epoch = entered(world)
    store.match([Query("frames", "k", 1000, "a")])
    world.lose(part)
    with pytest.raises(Retryable, match="lost a part"):
        store.index([event(5000)])
    assert store.epoch() != epoch


def test_a_body_lost_after_the_match_is_not_taken_for_a_trimmed_one(world: World) -> None:
    """The anchor has chosen; its event's body is gone, and the event is not."""
    store, epoch = entered(world)
    store.index([event(1000)])
    world.lose("p")
    with pytest.raises(Retryable, match="lost a part"):
        is_kept(store, 1000)
    assert store.epoch() != epoch


def test_an_event_does_not_go_into_what_is_left_of_a_key(world: World) -> None:
    """Else the key would look as if it had begun with it."""
    store, epoch = entered(world)
    store.index([event(1000)])
    world.lose("z")
    with pytest.raises(Retryable, match="lost a part"):
        store.index([event(2000)])
    assert store.epoch() != epoch
