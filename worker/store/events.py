"""Context events by (stream, key, time) in Redis: kept, matched by the rule in the server, fetched and claimed."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from redis.exceptions import OutOfMemoryError

from worker.errors import Poison
from worker.records import Candidate, Event, Match, Query, Record
from worker.store.client import raise_first, translated
from worker.store.codec import decode_member, encode_member, encode_record, kept_record
from worker.store.epoch import Epochs

# Woken anchors taken at once.
MOST_WOKEN = 10_000
# Wake-ups of a worker that is gone; one that lives fetches its own at every turn.
WAKE_TTL_MS = 3_600_000


class Events(Epochs):
    """The events of ContextStore."""

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
                    self._lifetime.data_ms,
                )  # fmt: skip

        late = 0
        woken: defaultdict[str, list[bytes]] = defaultdict(list)
        told: dict[tuple[str, str], bytes] = {}
        answers = self._execute(fill)
        for event, answer in zip(events, answers, strict=True):
            if isinstance(answer, Exception):
                continue
            was_late, w, *waiters = answer
            if waiters:
                told[event.stream, event.key] = w
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
            pipe.pexpire(f"{self._prefix}:wake:{worker}", WAKE_TTL_MS)

    def _strike_out(self, pipe: Any, told: Mapping[tuple[str, str], bytes]) -> None:
        for (stream, key), w in told.items():
            pipe.fcall(self._named("fusion_told"), 5, *self._keys(stream, key), w)

    def match(self, queries: Sequence[Query]) -> list[Match]:
        """See ContextStore.match."""

        def fill(pipe: Any) -> None:
            for query in queries:
                rule = self._rules[query.stream]
                pipe.fcall(
                    self._named("fusion_match"), 5, *self._keys(query.stream, query.key),
                    rule.mode, query.time_us, rule.before_us, rule.after_us, rule.lateness_us, rule.limit,
                    f"{self._worker}|{query.token}", self._lifetime.data_ms, int(query.last),
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

    def fetch(self, wanted: Sequence[tuple[str, str, Candidate]]) -> list[Record | Poison | None]:
        """See ContextStore.fetch."""

        def fill(pipe: Any) -> None:
            for stream, key, candidate in wanted:
                pipe.hget(self._keys(stream, key)[1], encode_member(candidate.time_us, candidate.id))

        if not wanted:
            return []
        return [None if found is None else kept_record(found) for found in self._answers(fill)]

    def claim(self, stream: str, key: str, candidate: Candidate, token: str) -> bool:
        """See ContextStore.claim."""
        member = encode_member(candidate.time_us, candidate.id)
        keys, ttl_ms = self._keys(stream, key), self._lifetime.data_ms
        return bool(
            self._answers(lambda pipe: pipe.fcall(self._named("fusion_claim"), 5, *keys, member, token, ttl_ms))[0]
        )

    def woken(self) -> list[str]:
        """See ContextStore.woken."""
        with translated():
            found = self._client.lpop(f"{self._prefix}:wake:{self._worker}", MOST_WOKEN)
        return [token.decode() for token in found or ()]
