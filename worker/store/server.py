"""One Redis or Valkey under one namespace: its functions, and pipelines that load them where they are missing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
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

_FILES = ("keys", "index", "match", "flow", "epoch", "sweep", "slots", "forget")  # keys.lua is the head of the library


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
        self._redirected = False  # the client sent some of the last pipeline again, to another node of the cluster
        self._lifetime = Lifetime.of(rules.values())
        self._is_cluster = isinstance(client, RedisCluster)
        files = resources.files("worker.store")
        self._script = "".join(files.joinpath(f"{name}.lua").read_text(encoding="utf-8") for name in _FILES)
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

    def _fcall(self, pipe: Any, function: str, keys: Sequence[str | bytes], *args: Any) -> None:
        """One call of a function on the server that holds these keys."""
        self._fcall_at(self._node_of(keys[0]), pipe, function, keys, *args)

    def _fcall_at(self, node: Any, pipe: Any, function: str, keys: Sequence[str | bytes], *args: Any) -> None:
        place = {} if node is None else {"target_nodes": node}
        pipe.execute_command("FCALL", self._named(function), len(keys), *keys, *args, **place)

    def _node_of(self, key: str | bytes) -> Any:
        """None where there is but one. Told to the client, which else asks a server for the keys of each call, with all
        its arguments (`COMMAND GETKEYS`, twice)."""
        return self._client.get_node_from_key(key) if self._is_cluster else None

    def _named(self, function: str) -> str:
        """Of two releases in one pool each calls the functions that it knows."""
        return f"{function}_{self._version}"

    def _execute(self, fill: Callable[[Any], Any]) -> list[Any]:
        """Runs a pipeline; once more after loading the functions, where the server has lost them."""
        answers = self._once(fill)
        if any(isinstance(answer, ResponseError) and "Function not found" in str(answer) for answer in answers):
            self._load()
            answers = self._once(fill)
        return answers

    def _once(self, fill: Callable[[Any], Any]) -> list[Any]:
        with translated(), self._client.pipeline(transaction=False) as pipe:
            fill(pipe)
            answers = list(pipe.execute(raise_on_error=False))
            self._redirected = self._is_cluster and pipe.reinitialize_counter > 0
            return answers

    def _answers(self, fill: Callable[[Any], Any]) -> list[Any]:
        """As `_execute`, where one error is an error of the call."""
        answers = self._execute(fill)
        raise_first(answers)
        return answers

    def _call(self, function: str, key: str, *args: Any) -> Any:
        return self._answers(lambda pipe: self._fcall(pipe, function, (key,), *args))[0]

    def close(self) -> None:
        """Ends the connections."""
        self._client.close()
