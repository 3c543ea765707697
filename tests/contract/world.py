"""A server whose clock and parts a test may move, real or not, and the stores on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import pytest
import redis

from tests.fakes.context_store import FakeContextStore, FakeServer
from tests.store_fixtures import AMPLE, CountingObserver, fresh_namespace, redis_store
from worker.ports import ContextStore
from worker.records import MatchRule


class World(Protocol):
    """One server and one namespace."""

    observer: CountingObserver

    def store(self, used: MatchRule, worker: str = "w1", bounds: tuple[int, int] = AMPLE) -> ContextStore:
        """A store of this namespace."""

    def pass_time(self, milliseconds: int) -> None:
        """Everything is nearer to its end by so much."""

    def lose(self, part: str) -> None:
        """The server loses one part of every key: z, p, m, q or c."""


class FakeWorld:
    """Without a server."""

    def __init__(self) -> None:
        self.server, self.observer = FakeServer(), CountingObserver()

    def store(self, used: MatchRule, worker: str = "w1", bounds: tuple[int, int] = AMPLE) -> ContextStore:
        return FakeContextStore(self.server, worker, {used.stream: used}, {used.stream: bounds}, self.observer)

    def pass_time(self, milliseconds: int) -> None:
        self.server.pass_time(milliseconds)

    def lose(self, part: str) -> None:
        self.server.lose(part)


class RealWorld:
    """On a real Valkey, whose clock nobody can move: its keys' ends are moved instead."""

    def __init__(self, url: str) -> None:
        self.url, self.namespace, self.observer = url, fresh_namespace(), CountingObserver()

    def store(self, used: MatchRule, worker: str = "w1", bounds: tuple[int, int] = AMPLE) -> ContextStore:
        rules: Mapping[str, MatchRule] = {used.stream: used}
        return redis_store(
            self.url, rules, namespace=self.namespace, worker=worker, bounds={used.stream: bounds},
            observer=self.observer,
        )  # fmt: skip

    def pass_time(self, milliseconds: int) -> None:
        with redis.Redis.from_url(self.url) as client:
            for name in client.keys(f"fw:{self.namespace}:*"):
                if (left := client.pttl(name)) >= 0:
                    client.pexpire(name, left - milliseconds)

    def lose(self, part: str) -> None:
        with redis.Redis.from_url(self.url) as client:
            for name in client.keys(f"fw:{self.namespace}:*:{part}"):
                client.delete(name)


@pytest.fixture(params=["valkey", "fake"])
def world(request: pytest.FixtureRequest) -> World:
    """Each of the two."""
    return FakeWorld() if request.param == "fake" else RealWorld(request.getfixturevalue("redis_url"))
