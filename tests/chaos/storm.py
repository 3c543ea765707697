"""Faults from a seed, between chunks of events, while workers run."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

import redis

from tests.chaos.ground import Ground
from tests.story import Fed, minutes_ago, story
from tests.town import Town, Worker
from worker.demo.kafka import EmbeddedKafka

# Kept short by the ground's broker, so that a fault costs seconds.
QUICK_KAFKA = {"session_timeout": "1500ms", "max_poll_interval": "20s"}
# So long that only an event ends a wait: what is matched then depends on the events alone, whatever the storm does. The
# horizon is longer than a story, since an anchor of a slow camera holds the others' frames back at its horizon.
LONG_WAIT = {"frames": {"max_wait": "5m", "horizon": "15m"}}
# Anchors under way when a fault strikes, at least.
UNDER_WAY = 150
# Past the session's timeout, with time for the others to take the partitions and to go on.
FROZEN_SECONDS = 3.0
SLOW_CAMERAS = {f"junction-{number}" for number in range(3)}


def settings(ground: Ground, **more: Any) -> dict[str, Any]:
    """A town's settings for this ground; the ring has room for some frames, so that others come from Kafka again."""
    values: dict[str, Any] = {
        "kafka": QUICK_KAFKA, "streams": LONG_WAIT, "delivery": {"transaction_timeout": "5s", "commit_timeout": "6s"},
        "nursery": ground.nursery, "cost_ms": 20.0, "model": {"max_batch": 8}, "limits": {"body_cache_bytes": 64_000},
    }  # fmt: skip
    for name, value in more.items():
        values[name] = {**values[name], **value} if isinstance(values.get(name), dict) else value
    if getattr(ground, "fetcher", "both") != "both":
        values["kafka"] = {**values["kafka"], "fetcher": ground.fetcher}
    return values


def backlog(seed: int, anchors: int, keys: int = 40) -> list[Fed]:
    """A story of so many anchors that ends some minutes ago."""
    return story(seed, minutes_ago(60), keys, anchors // keys)


class Storm:
    """Strikes one town. Every choice comes from the seed."""

    def __init__(self, ground: Ground, made: Town, seed: int) -> None:
        self._ground, self.made, self._rng = ground, made, random.Random(seed)
        self.struck: dict[str, int] = {}

    def rage(
        self,
        events: Sequence[Fed],
        faults: Sequence[str],
        patience_seconds: float = 60.0,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Feeds the events in as many chunks as there are faults, and strikes in each, with anchors under way.

        The frames of the slow cameras come last: their anchors stay unfinished while those behind them are finished.
        """
        late = [event for event in events if event.stream == "frames" and event.key in SLOW_CAMERAS]
        early = [event for event in events if event not in set(late)]
        made, size, due = self.made, -(-len(early) // len(faults)), 0
        for number, fault in enumerate(faults):
            chunk = early[number * size : (number + 1) * size]
            made.feed(chunk)
            due += sum(event.stream == "texts" and event.key not in SLOW_CAMERAS for event in chunk)
            self._until(due - UNDER_WAY, patience_seconds)
            made.read(self._rng.random() * 0.2)
            self.strike(fault)
            if (number + 1) % 20 == 0:
                say(f"{number + 1} of {len(faults)} faults, {len(made.results)} results")
        made.feed(late)
        self._until(sum(event.stream == "texts" for event in events), patience_seconds)

    def _until(self, outcomes: int, seconds: float) -> None:
        made = self.made
        try:
            made.read_until(lambda: len(made.results) + len(made.dead) >= outcomes, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\nstruck: {self.struck}\n{made.states()}\n{made.logs()}") from error

    def strike(self, fault: str) -> None:
        """One fault by its name, which is that of a method."""
        act: Callable[[], None] = getattr(self, fault)
        act()
        self.struck[fault] = self.struck.get(fault, 0) + 1

    def victim(self) -> Worker:
        """Whom a fault strikes."""
        return self._rng.choice(self.made.workers)

    def kill(self) -> None:
        """SIGKILL to a worker, and another in its place."""
        self.made.kill(self.victim())
        self.made.start()

    def terminate(self) -> None:
        """SIGTERM to a worker, and another in its place."""
        worker = self.victim()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0, self.made.log()
        self.made.workers.remove(worker)
        self.made.start()

    def flush(self) -> None:
        """FLUSHALL."""
        redis.Redis.from_url(self._ground.redis_url).flushall()

    def freeze(self) -> None:
        """A worker stands still until the group has given its partitions away, and wakes up."""
        worker = self.victim()
        worker.send_signal(signal.SIGSTOP)
        self._pass(FROZEN_SECONDS)
        worker.send_signal(signal.SIGCONT)

    def freeze_redis(self) -> None:
        """Redis hangs."""
        self._held(self._ground.valkey.pid, 1.0 + 2 * self._rng.random())

    def freeze_kafka(self) -> None:
        """The broker hangs."""
        self._held(self._ground.kafka.pid, 1.0 + self._rng.random())

    def kill_broker(self) -> None:
        """A broker is killed and comes back with its data.

        Not on a ground of one broker: Kafka 4.1 to 4.3 forgets to end transactions whose partitions have no leader left
        when their coordinator comes back (KAFKA-20734).
        """
        self._away(0.5, lambda broker: broker.kill())

    def restart_kafka(self) -> None:
        """The broker is stopped and comes back at once."""
        self._away(0.5, lambda broker: broker.stop())

    def stop_kafka(self) -> None:
        """The broker is away for 20 s."""
        self._away(20.0, lambda broker: broker.stop())

    def _away(self, seconds: float, end: Callable[[EmbeddedKafka], None]) -> None:
        broker = self._ground.kafka
        end(broker)
        self._pass(seconds)
        broker.start()

    def restart_redis(self) -> None:
        """Redis goes and comes back empty."""
        self._ground.valkey.stop()
        self._pass(0.3)
        self._ground.valkey.start()

    def _held(self, pid: int, seconds: float) -> None:
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            os.kill(pid, signal.SIGCONT)

    def _pass(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.made.read()
