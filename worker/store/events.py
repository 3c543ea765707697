"""Context events by (stream, key, time) in Redis: kept, matched by the rule in the server, fetched and claimed."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from redis.exceptions import OutOfMemoryError

from worker.errors import Full, Poison
from worker.records import Candidate, Event, Match, Query, Record, Reference
from worker.store.client import raise_first, translated
from worker.store.codec import decode_member, encode_kept, encode_member, kept_record
from worker.store.epoch import Epochs

# Waiters of one key told in one step: about half a millisecond of the server.
MOST_TOLD = 500
# Woken anchors taken at once.
MOST_WOKEN = 10_000
_Key = tuple[str, str]  # stream, key


class Events(Epochs):
    """The events of ContextStore."""

    def _keys(self, stream: str, key: str) -> list[str]:
        tag = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
        return [f"{self._prefix}:{self._epoch}:{{{tag}}}:{stream}:{part}" for part in "zpmqc"]

    def index(self, events: Sequence[Event], needed_us: int | None = None) -> int:
        """See ContextStore.index."""
        self._indexed_us = max([self._indexed_us, *(event.time_us for event in events)])
        by_key: dict[_Key, list[int]] = {}
        for place, event in enumerate(events):
            by_key.setdefault((event.stream, event.key), []).append(place)
        answers = self._put("fusion_index", {key: [events[n] for n in places] for key, places in by_key.items()})
        left = {key: by_key[key] for key, answer in answers.items() if isinstance(answer, OutOfMemoryError)}
        if left:
            error = next(answer for answer in answers.values() if isinstance(answer, OutOfMemoryError))
            admitted = self._relieve({key: [events[n] for n in places] for key, places in left.items()}, needed_us)
            answers |= self._put("fusion_index_needed", admitted)
            left = {key: places[len(admitted.get(key, ())) :] for key, places in left.items()}
        late = self._wake({key: answer for key, answer in answers.items() if not isinstance(answer, Exception)})
        raise_first([answer for answer in answers.values() if not isinstance(answer, OutOfMemoryError)])
        if refused := [place for places in left.values() for place in places]:
            raise Full(f"Redis: {error}", refused)
        return late

    def _put(self, function: str, events: Mapping[_Key, Sequence[Event]]) -> dict[_Key, Any]:
        """What the server answers for each key."""

        def fill(pipe: Any) -> None:
            for (stream, key), some in events.items():
                rule, (most_events, most_bytes) = self._rules[stream], self._bounds[stream]
                pipe.fcall(
                    self._named(function), 5, *self._keys(stream, key),
                    rule.lateness_us, self._keep_us(stream), most_events, most_bytes, self._lifetime.data_ms,
                    rule.after_us if rule.mode == "nearest" else "", MOST_TOLD,
                    *(part for event in some for part in self._parts(event)),
                )  # fmt: skip

        return dict(zip(events, self._execute(fill), strict=True))

    def _parts(self, event: Event) -> tuple[bytes, int, bytes]:
        kept = encode_kept(event.record, self._inline_bytes)
        return encode_member(event.time_us, event.id), event.time_us, kept

    def _wake(self, answers: Mapping[_Key, Any]) -> int:
        """Counts what came late and tells the waiters; returns how many were late."""
        late = 0
        waiters: dict[_Key, Iterable[bytes]] = {}
        reached: dict[_Key, bytes] = {}
        for key, (were_late, w, *woken) in answers.items():
            late += were_late
            if were_late:
                self._observer.count("late_events_total", were_late, stream=key[0])
            if woken:
                waiters[key], reached[key] = woken, w
        rest: Mapping[_Key, Iterable[bytes]] = waiters
        while rest:
            rest = self._tell_some(rest, reached)
        return late

    def _tell_some(
        self, waiters: Mapping[_Key, Iterable[bytes]], reached: Mapping[_Key, bytes]
    ) -> Mapping[_Key, Iterable[bytes]]:
        """Tells these, then strikes their notes out; returns those of the same keys that come next."""
        self._answers(lambda pipe: self._tell(pipe, waiters))
        more = self._answers(lambda pipe: self._strike_out(pipe, waiters, reached))
        return {key: found for key, found in zip(waiters, more, strict=True) if found}

    def _keep_us(self, stream: str) -> int:
        rule = self._rules[stream]
        return rule.horizon_us + rule.before_us + rule.after_us + rule.lateness_us

    def _relieve(
        self, refused: Mapping[_Key, Sequence[Event]], needed_us: int | None
    ) -> dict[_Key, Sequence[Event]]:  # fmt: skip
        """A full server takes no event, which is when old ones would go.

        Returns:
            The refused events without which the slowest anchor would wait for ever: of each key all up to the first
            that completes it. They go in although the server is full, or nothing would ever leave it.
        """

        def fill(pipe: Any) -> None:
            for (stream, key), events in refused.items():
                rule = self._rules[stream]
                reach_us = rule.before_us + rule.after_us + rule.lateness_us
                needed = "" if needed_us is None else needed_us - rule.before_us
                newest_us = max(event.time_us for event in events)
                pipe.fcall(self._named("fusion_relieve"), 5, *self._keys(stream, key), newest_us, reach_us, needed)

        admitted: dict[_Key, Sequence[Event]] = {}
        for (key, events), answer in zip(refused.items(), self._answers(fill), strict=True):
            rule, highest_us, places = self._rules[key[0]], int(answer), 0
            while (
                needed_us is not None
                and places < len(events)
                and highest_us <= needed_us + rule.after_us + rule.lateness_us
            ):
                highest_us = max(highest_us, events[places].time_us)
                places += 1
            if places:
                admitted[key] = events[:places]
        return admitted

    def _tell(self, pipe: Any, waiters: Mapping[_Key, Iterable[bytes]]) -> None:
        woken: defaultdict[bytes, list[bytes]] = defaultdict(list)
        for waiter in (waiter for each in waiters.values() for waiter in each):
            worker, _, token = waiter.partition(b"|")
            woken[worker].append(token)
        for worker, tokens in woken.items():
            own = f"{self._prefix}:wake:{worker.decode()}"
            pipe.fcall(self._named("fusion_wake"), 1, own, self._lifetime.data_ms, *dict.fromkeys(tokens))

    def _strike_out(
        self, pipe: Any, waiters: Mapping[_Key, Iterable[bytes]], reached: Mapping[_Key, bytes]
    ) -> None:  # fmt: skip
        for key, told in waiters.items():
            pipe.fcall(self._named("fusion_told"), 5, *self._keys(*key), reached[key], MOST_TOLD, *told)

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

    def fetch(self, wanted: Sequence[tuple[str, str, Candidate]]) -> list[Record | Reference | Poison | None]:
        """See ContextStore.fetch."""

        def fill(pipe: Any) -> None:
            for stream, key, candidate in wanted:
                pipe.hget(self._keys(stream, key)[1], encode_member(candidate.time_us, candidate.id))

        if not wanted:
            return []
        answers = self._answers(fill)
        self._confirm_gone([one for one, found in zip(wanted, answers, strict=True) if found is None])
        return [None if found is None else kept_record(found) for found in answers]

    def _confirm_gone(self, wanted: Sequence[tuple[str, str, Candidate]]) -> None:
        """A body whose event is still there was not trimmed: the key has lost a part."""

        def fill(pipe: Any) -> None:
            for stream, key, candidate in wanted:
                pipe.zscore(self._keys(stream, key)[0], encode_member(candidate.time_us, candidate.id))

        if wanted and any(score is not None for score in self._answers(fill)):
            self._end_epoch()

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
