"""A server whose clock and parts a test may move, real or not, and the stores on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pytest
import redis

from tests.fakes.context_store import FakeContextStore, FakeServer
from tests.store_fixtures import AMPLE, CountingObserver, fresh_namespace, options
from worker.errors import Retryable
from worker.ports import ContextStore
from worker.records import MatchRule
from worker.store.codec import INLINE_BYTES
from worker.store.context_store import RedisContextStore


class World(Protocol):
    """One server and one namespace."""

    observer: CountingObserver

    def store(
        self, used: MatchRule, worker: str = "w1", bounds: tuple[int, int] = AMPLE, inline_bytes: int = INLINE_BYTES
    ) -> ContextStore:
        """A store of this namespace."""

    def pass_time(self, milliseconds: int) -> None:
        """Everything is nearer to its end by so much."""

    def lose(self, part: str) -> None:
        """The server loses one part of every key: z, p, m, q or c."""

    def keys_of(self, epoch: str) -> int:
        """How many keys lie under an epoch."""

    def fill(self, full: bool) -> None:
        """The server is at its limit of memory, or not."""

    def break_after(self, commands: int | None) -> None:
        """From now on the connection breaks after so many commands of a call; None: it holds."""


class FakeWorld:
    """Without a server."""

    def __init__(self) -> None:
        self.server, self.observer = FakeServer(), CountingObserver()

    def store(
        self, used: MatchRule, worker: str = "w1", bounds: tuple[int, int] = AMPLE, inline_bytes: int = INLINE_BYTES
    ) -> ContextStore:
        return FakeContextStore(
            self.server, worker, {used.stream: used}, {used.stream: bounds}, self.observer, inline_bytes
        )

    def pass_time(self, milliseconds: int) -> None:
        self.server.pass_time(milliseconds)

    def lose(self, part: str) -> None:
        self.server.lose(part)

    def keys_of(self, epoch: str) -> int:
        return sum(place[0] == epoch for place in self.server.entities)

    def fill(self, full: bool) -> None:
        self.server.full = full

    def break_after(self, commands: int | None) -> None:
        self.server.breaks_after = commands


class RealWorld:
    """On a real Valkey, whose clock nobody can move: its keys' ends are moved instead."""

    def __init__(self, url: str) -> None:
        self.url, self.namespace, self.observer = url, fresh_namespace(), CountingObserver()
        self.passed_us = 0
        self.breaks_after: int | None = None

    def store(
        self, used: MatchRule, worker: str = "w1", bounds: tuple[int, int] = AMPLE, inline_bytes: int = INLINE_BYTES
    ) -> ContextStore:
        made = _Moved.connect(
            options(self.url), self.namespace, worker, {used.stream: used}, {used.stream: bounds}, self.observer,
            inline_bytes,
        )  # fmt: skip
        made.world = self
        return made

    def pass_time(self, milliseconds: int) -> None:
        self.passed_us += milliseconds * 1000
        with redis.Redis.from_url(self.url) as client:
            for name in client.keys(f"fw:{self.namespace}:*"):
                if (left := client.pttl(name)) >= 0:
                    client.pexpire(name, left - milliseconds)

    def lose(self, part: str) -> None:
        with redis.Redis.from_url(self.url) as client:
            for name in client.keys(f"fw:{self.namespace}:*:{part}"):
                client.delete(name)

    def keys_of(self, epoch: str) -> int:
        with redis.Redis.from_url(self.url) as client:
            return len(client.keys(f"fw:{self.namespace}:{epoch}:*"))

    def fill(self, full: bool) -> None:
        with redis.Redis.from_url(self.url) as client:
            client.config_set("maxmemory", "1mb" if full else 0)

    def break_after(self, commands: int | None) -> None:
        self.breaks_after = commands


class _Moved(RedisContextStore):
    """Its server's clock is ahead by what the test let pass."""

    world: RealWorld

    def _step(self, now_us: int, needed_us: int | None) -> None:
        super()._step(now_us + self.world.passed_us, needed_us)

    def _once(self, fill: Callable[[Any], None]) -> list[Any]:
        left = self.world.breaks_after
        if left is None:
            return super()._once(fill)

        def some(pipe: Any) -> None:
            fill(pipe)
            del pipe.command_stack[left:]

        sent = len(super()._once(some))
        self.world.breaks_after = left - sent
        if sent == left:
            raise Retryable("the connection broke")
        return super()._once(fill)


@pytest.fixture(params=["valkey", "fake"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Each of the two."""
    if request.param == "fake":
        yield FakeWorld()
        return
    real = RealWorld(request.getfixturevalue("redis_url"))
    yield real
    real.fill(False)
