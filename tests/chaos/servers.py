"""A town's own Redis, which a replica may take the place of."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis

from tests.chaos.proxy import Proxy
from tests.town import Town
from worker.demo.valkey import EmbeddedValkey


class Servers:
    """The town's Redis, which another may take the place of."""

    def __init__(self, folder: Path, closing: contextlib.ExitStack) -> None:
        self._folder, self._closing, self._number = folder, closing, 0
        self._most_data_bytes: int | None = None
        self._now = self._next = self._server()
        self.proxy = Proxy(self._now.port)
        closing.callback(self.proxy.close)

    def _server(self) -> EmbeddedValkey:
        folder = self._folder / f"redis-{self._number}"
        folder.mkdir()
        self._number += 1
        server = EmbeddedValkey(folder)
        self._closing.callback(server.stop)
        return server

    def link(self) -> Any:
        """The server that the workers speak with."""
        return redis.Redis.from_url(self._now.url)

    def told(self) -> str:
        """What lies there, for a failure's message."""
        memory, epochs = self.link().info("memory"), Counter[bytes]()
        for name in self.link().scan_iter("fw:*}:*", 1000):
            epochs[name.split(b":")[2]] += 1
        sizes = ", ".join(f"{n} {memory[n]}" for n in ("used_memory", "used_memory_dataset", "maxmemory"))
        return f"Redis: {sizes}; {self.link().get(self._epoch_key())}; keys by epoch {dict(epochs)}"

    def _epoch_key(self) -> bytes:
        return next(self.link().scan_iter("fw:*:epoch", 1000), b"none")

    def promote(self, made: Town) -> None:
        """A replica of the server of now, promoted while the workers still speak with that one."""
        self._next = self._server()
        heir = redis.Redis.from_url(self._next.url)
        heir.replicaof("127.0.0.1", self._now.port)
        made.read_until(lambda: heir.info("replication")["master_link_status"] == "up" and heir.dbsize() > 0)
        heir.replicaof("NO", "ONE")
        self._most_data_bytes = int(_data_bytes(heir) / 0.6)

    def bound(self) -> bool:
        """What the server may hold is set anew, and not for what its connections and functions take: at the size of a
        test these are most of it."""
        if self._most_data_bytes is not None:
            link = self.link()
            beside = link.info("memory")["used_memory"] - _data_bytes(link)
            link.config_set("maxmemory", beside + self._most_data_bytes)
        return True

    def unbound(self) -> None:
        """It may hold what it likes."""
        self._most_data_bytes = None
        self.link().config_set("maxmemory", 0)

    def switch(self) -> None:
        """The old one is killed, and the workers find the new one."""
        self._now.kill()
        self._now = self._next
        self.bound()
        self.proxy.target = self._now.port


def _data_bytes(link: Any) -> int:
    """What the entities take."""
    pipe = link.pipeline(transaction=False)
    for name in link.scan_iter("fw:*}:*", 1000):
        pipe.memory_usage(name)
    return sum(size or 0 for size in pipe.execute())


@contextlib.contextmanager
def open_servers(folder: Path) -> Iterator[Servers]:
    """Servers that are stopped at the end."""
    with contextlib.ExitStack() as closing:
        yield Servers(folder, closing)
