"""One Redis or Valkey under one namespace: its functions, and pipelines that load them where they are missing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

from redis.cluster import RedisCluster
from redis.exceptions import OutOfMemoryError, ResponseError

from worker.errors import Retryable
from worker.ports import Observer
from worker.records import MatchRule
from worker.store.client import raise_first, translated
from worker.store.codec import INLINE_BYTES
from worker.store.lifetime import Lifetime

_FILES = ("keys.lua", "index.lua", "match.lua", "pool.lua")


def _plain_info(told: Any, **_: Any) -> dict[str, Any]:
    """INFO as it is; the client's own parser takes longer than the server's answer, at every look at the epoch. A
    cluster's nodes have parsed theirs already."""
    if isinstance(told, dict):
        return told
    return dict(line.split(":", 1) for line in told.decode().splitlines() if ":" in line)


class Server:
    """What the roles of the store share. Every call is one pipelined round trip."""

    def __init__(
        self,
        client: Any,
        namespace: str,
        worker_id: str,
        rules: Mapping[str, MatchRule],
        bounds: Mapping[str, tuple[int, int]],
        observer: Observer,
        inline_bytes: int = INLINE_BYTES,
    ) -> None:
        """`bounds`: per stream the most events and the most bytes of one key."""
        self._client, self._prefix, self._worker = client, f"fw:{namespace}", worker_id
        self._rules, self._bounds, self._observer = rules, bounds, observer
        self._inline_bytes = inline_bytes
        self._lifetime = Lifetime.of(rules.values())
        self._everywhere = {"target_nodes": RedisCluster.PRIMARIES} if isinstance(client, RedisCluster) else {}
        client.set_response_callback("INFO", _plain_info)
        files = resources.files("worker.store")
        self._script = "".join(files.joinpath(name).read_text(encoding="utf-8") for name in _FILES)
        self._version = hashlib.blake2b(self._script.encode(), digest_size=4).hexdigest()
        self._begin()

    def _begin(self) -> None:
        """A full server takes no functions; it may have them, and the calls will tell."""
        try:
            self._load()
        except Retryable as error:
            if not isinstance(error.__cause__, OutOfMemoryError):
                raise

    def _load(self) -> None:
        with translated():
            self._client.function_load(self._script.replace("VERSION", self._version), replace=True)

    def _named(self, function: str) -> str:
        """Of two releases in one pool each calls the functions that it knows."""
        return f"{function}_{self._version}"

    def _execute(self, fill: Callable[[Any], None]) -> list[Any]:
        """Runs a pipeline; once more after loading the functions, where the server has lost them."""
        answers = self._once(fill)
        if any(isinstance(answer, ResponseError) and "Function not found" in str(answer) for answer in answers):
            self._load()
            answers = self._once(fill)
        return answers

    def _once(self, fill: Callable[[Any], None]) -> list[Any]:
        with translated(), self._client.pipeline(transaction=False) as pipe:
            fill(pipe)
            return list(pipe.execute(raise_on_error=False))

    def _answers(self, fill: Callable[[Any], None]) -> list[Any]:
        """As `_execute`, where one error is an error of the call."""
        answers = self._execute(fill)
        raise_first(answers)
        return answers

    def _call(self, function: str, key: str, *args: Any) -> Any:
        return self._answers(lambda pipe: pipe.fcall(self._named(function), 1, key, *args))[0]

    def close(self) -> None:
        """Ends the connections."""
        self._client.close()
