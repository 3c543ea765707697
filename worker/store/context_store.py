"""Context events by (stream, key, time) in Redis or Valkey, shared by all workers; the rule runs in the server."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any

from redis.cluster import RedisCluster
from redis.exceptions import OutOfMemoryError, ResponseError

from worker.errors import Retryable
from worker.ports import Observer
from worker.records import Candidate, Event, Flow, Match, MatchRule, Partition, PartitionFlow, Query, Record
from worker.store.client import connect, raise_first, translated
from worker.store.codec import decode_member, decode_record, encode_member, encode_record

# A key that nothing touches for this long is gone; an anchor would have to lag longer than that to miss it.
LEAST_TTL_MS = 3_600_000
# A killed worker's slot is free after this long; the lease is renewed five times in it.
SLOT_TTL_MS = 2_000
# Woken anchors taken at once.
MOST_WOKEN = 10_000


class RedisContextStore:
    """worker.ports.ContextStore on Redis 7+ or Valkey 7+. Every call is one pipelined round trip."""

    def __init__(
        self,
        client: Any,
        namespace: str,
        worker_id: str,
        rules: Mapping[str, MatchRule],
        bounds: Mapping[str, tuple[int, int]],
        observer: Observer,
    ) -> None:
        """`bounds`: per stream the most events and the most bytes of one key."""
        self._client, self._prefix, self._worker = client, f"fw:{namespace}", worker_id
        self._rules, self._bounds, self._observer = rules, bounds, observer
        self._ttl_ms = {name: max(LEAST_TTL_MS, rule.horizon_us // 50) for name, rule in rules.items()}
        self._epoch = ""
        self._everywhere = {"target_nodes": RedisCluster.PRIMARIES} if isinstance(client, RedisCluster) else {}
        self._slot: int | None = None
        self._script = resources.files("worker.store").joinpath("align.lua").read_text(encoding="utf-8")
        self._version = hashlib.blake2b(self._script.encode(), digest_size=4).hexdigest()
        self._load()

    @classmethod
    def connect(
        cls,
        options: Mapping[str, Any],
        namespace: str,
        worker_id: str,
        rules: Mapping[str, MatchRule],
        bounds: Mapping[str, tuple[int, int]],
        observer: Observer,
    ) -> RedisContextStore:
        """A store on the server of the `[redis]` section.

        Raises:
            Retryable: the server does not answer.
            Unreachable: it refuses the credentials.
        """
        return cls(connect(options), namespace, worker_id, rules, bounds, observer)

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
        return self._answers(lambda pipe: pipe.fcall(function, 1, key, *args))[0]

    def _keys(self, stream: str, key: str) -> list[str]:
        tag = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
        return [f"{self._prefix}:{self._epoch}:{{{tag}}}:{stream}:{part}" for part in "zpmqc"]

    def index(self, events: Sequence[Event]) -> int:
        """See ContextStore.index."""

        def fill(pipe: Any) -> None:
            for event in events:
                most_events, most_bytes = self._bounds[event.stream]
                pipe.fcall(
                    self._named("fusion_index"), 5, *self._keys(event.stream, event.key),
                    encode_member(event.time_us, event.id), event.time_us, encode_record(event.record),
                    self._rules[event.stream].lateness_us, self._keep_us(event.stream), most_events, most_bytes,
                    self._ttl_ms[event.stream],
                )  # fmt: skip

        late = 0
        woken: defaultdict[str, list[bytes]] = defaultdict(list)
        told: dict[str, bytes] = {}
        answers = self._execute(fill)
        for event, answer in zip(events, answers, strict=True):
            if isinstance(answer, Exception):
                continue
            was_late, w, *waiters = answer
            if waiters:
                told[self._keys(event.stream, event.key)[3]] = w
            late += was_late
            if was_late:
                self._observer.count("late_events_total", stream=event.stream)
            for waiter in waiters:
                worker, _, token = waiter.partition(b"|")
                woken[worker.decode()].append(token)
        if woken:
            self._answers(lambda pipe: self._tell(pipe, woken))
            self._answers(lambda pipe: self._strike_out(pipe, told))
        self._relieve([e for e, a in zip(events, answers, strict=True) if isinstance(a, OutOfMemoryError)])
        raise_first(answers)
        return late

    def _keep_us(self, stream: str) -> int:
        rule = self._rules[stream]
        return rule.horizon_us + rule.before_us + rule.after_us + rule.lateness_us

    def _relieve(self, refused: Sequence[Event]) -> None:
        """A full server takes no event, which is when old ones would go."""
        newest = {(e.stream, e.key): e.time_us for e in sorted(refused, key=lambda e: e.time_us)}

        def fill(pipe: Any) -> None:
            for (stream, key), time_us in newest.items():
                pipe.fcall(self._named("fusion_relieve"), 5, *self._keys(stream, key), time_us, self._keep_us(stream))

        if refused:
            self._answers(fill)

    def _tell(self, pipe: Any, woken: Mapping[str, list[bytes]]) -> None:
        for worker, tokens in woken.items():
            pipe.rpush(f"{self._prefix}:wake:{worker}", *dict.fromkeys(tokens))
            pipe.pexpire(f"{self._prefix}:wake:{worker}", LEAST_TTL_MS)

    def _strike_out(self, pipe: Any, told: Mapping[str, bytes]) -> None:
        for notes, w in told.items():
            pipe.zremrangebyscore(notes, "-inf", w)

    def match(self, queries: Sequence[Query]) -> list[Match]:
        """See ContextStore.match."""

        def fill(pipe: Any) -> None:
            for query in queries:
                rule = self._rules[query.stream]
                pipe.fcall(
                    self._named("fusion_match"), 5, *self._keys(query.stream, query.key),
                    rule.mode, query.time_us, rule.before_us, rule.after_us, rule.lateness_us, rule.limit,
                    f"{self._worker}|{query.token}", self._ttl_ms[query.stream], int(query.last),
                )  # fmt: skip

        if not queries:
            return []
        return [
            Match(
                bool(complete),
                tuple(decode_member(member) for member in members),
                int(highest) if highest else None,
                bound.decode() or None,
                int(other) if other else None,
            )
            for complete, highest, bound, other, *members in self._answers(fill)
        ]

    def fetch(self, wanted: Sequence[tuple[str, str, Candidate]]) -> list[Record | None]:
        """See ContextStore.fetch."""

        def fill(pipe: Any) -> None:
            for stream, key, candidate in wanted:
                pipe.hget(self._keys(stream, key)[1], encode_member(candidate.time_us, candidate.id))

        if not wanted:
            return []
        return [None if found is None else decode_record(found) for found in self._answers(fill)]

    def claim(self, stream: str, key: str, candidate: Candidate, token: str) -> bool:
        """See ContextStore.claim."""
        member = encode_member(candidate.time_us, candidate.id)
        keys, ttl_ms = self._keys(stream, key), self._ttl_ms[stream]
        return bool(
            self._answers(lambda pipe: pipe.fcall(self._named("fusion_claim"), 5, *keys, member, token, ttl_ms))[0]
        )

    def woken(self) -> list[str]:
        """See ContextStore.woken."""
        with translated():
            found = self._client.lpop(f"{self._prefix}:wake:{self._worker}", MOST_WOKEN)
        return [token.decode() for token in found or ()]

    def exchange_flow(self, own: Mapping[Partition, PartitionFlow]) -> Flow:
        """See ContextStore.exchange_flow."""
        name = f"{self._prefix}:flow:{self._epoch}"

        told = [
            text
            for p, flow in own.items()
            for text in (
                f"{p.topic}/{p.number}",
                json.dumps([flow.frontier_us, flow.clear_from_us, flow.caught_up_us]),
            )
        ]
        seconds, micros, *everybody = self._call(self._named("fusion_exchange"), name, 24 * LEAST_TTL_MS, *told)
        flows = {}
        for field, value in zip(everybody[::2], everybody[1::2], strict=True):
            topic, _, number = field.decode().rpartition("/")
            flows[Partition(topic, int(number))] = PartitionFlow(*json.loads(value))
        return Flow(int(seconds) * 1_000_000 + int(micros), flows)

    def epoch(self) -> str:
        """See ContextStore.epoch.

        A random value, which an emptied server has lost, and the servers' replication ids, which a restart changes and
        a promotion: a replica keeps the value but may lack the last writes.
        """
        name = f"{self._prefix}:epoch"
        with translated():
            found = self._client.get(name)
            if found is None:
                self._client.set(name, secrets.token_hex(8), nx=True)
                found = self._client.get(name)
            told = self._client.info("replication", **self._everywhere)
        if found is None:
            raise Retryable("Redis: the epoch was not kept")
        servers = sorted(each["master_replid"] for each in (told.values() if self._everywhere else [told]))
        kept: str = found.decode()
        return kept + "-" + hashlib.blake2b("".join(servers).encode(), digest_size=4).hexdigest()

    def enter(self, epoch: str) -> None:
        """See ContextStore.enter."""
        self._epoch = epoch

    def lease_slot(self) -> int:
        """See ContextStore.lease_slot."""
        slot = 0
        while not self.adopt_slot(slot):
            slot += 1
        self._slot = slot
        self.renew_slot()
        return slot

    def renew_slot(self) -> bool:
        """See ContextStore.renew_slot."""
        if self._slot is None:
            return True
        self._call(self._named("fusion_enlist"), f"{self._prefix}:slots", self._slot, LEAST_TTL_MS)
        return bool(self._call(self._named("fusion_hold"), self._slot_key(self._slot), self._worker, SLOT_TTL_MS, 0))

    def release_slot(self) -> None:
        """See ContextStore.release_slot."""
        if self._slot is not None:
            self.bury_slot(self._slot)
            self._slot = None

    def orphaned_slots(self) -> list[int]:
        """See ContextStore.orphaned_slots."""
        with translated():
            known = sorted(int(slot) for slot in self._client.smembers(f"{self._prefix}:slots"))
            return [slot for slot in known if not self._client.exists(self._slot_key(slot))]

    def adopt_slot(self, slot: int) -> bool:
        """See ContextStore.adopt_slot."""
        return bool(self._call(self._named("fusion_hold"), self._slot_key(slot), self._worker, SLOT_TTL_MS, 1))

    def bury_slot(self, slot: int) -> None:
        """See ContextStore.bury_slot."""
        if self._call(self._named("fusion_release"), self._slot_key(slot), self._worker):
            with translated():
                self._client.srem(f"{self._prefix}:slots", slot)

    def _slot_key(self, slot: int) -> str:
        return f"{self._prefix}:slot:{slot}"

    def close(self) -> None:
        """Ends the connections."""
        self._client.close()
