"""What a kept event takes of a real Valkey's memory: a reference, whatever the size of the body."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest
import redis

from tests.store_fixtures import event, fresh_namespace, redis_store, redis_url, rule
from worker.records import Event

__all__ = ["redis_url"]
EVENTS, KEYS = 4_000, 4
BYTES_PER_FRAME = 300


def frames(size: int) -> list[Event]:
    """Ids as long as a UUID, a topic with a long name, and headers as a producer sends them."""
    value = bytes(size)
    made = [event(33_000 * (1 + n // KEYS), str(uuid.UUID(int=n)), f"k{n % KEYS}", value) for n in range(EVENTS)]
    return [replace(one, record=replace(one.record, topic="city.cameras.frames", offset=2**40)) for one in made]


def test_a_frame_is_looked_up_at_once_however_few_are_kept(redis_url: str) -> None:
    """Redis packs a small hash into a list, which each look-up passes over; ours is a table from the first on."""
    namespace = fresh_namespace()
    store = redis_store(redis_url, {"frames": rule()}, namespace=namespace)
    store.index(frames(1)[:1])
    with redis.Redis.from_url(redis_url) as client:
        (name,) = client.keys(f"fw:{namespace}:*:p")
        assert client.object("encoding", name) == b"hashtable"
    store.close()


@pytest.mark.parametrize("size", [1_025, 33_000, 300_000])
def test_a_kept_frame_takes_less_than_three_hundred_bytes(redis_url: str, size: int) -> None:
    """All parts of the entities, by MEMORY USAGE; of a key with a thousand frames, which is half a minute of video."""
    namespace = fresh_namespace()
    store = redis_store(redis_url, {"frames": rule(horizon_us=10**12)}, namespace=namespace, inline_bytes=1024)
    sent = frames(size)
    for at in range(0, EVENTS, 200):
        store.index(sent[at : at + 200])
    with redis.Redis.from_url(redis_url) as client:
        names = client.keys(f"fw:{namespace}:*{{*")
        assert sum(client.hlen(name) - 1 for name in names if name.endswith(b":p")) == EVENTS
        assert sum(client.memory_usage(name, samples=0) for name in names) < BYTES_PER_FRAME * EVENTS
    store.close()
