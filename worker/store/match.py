"""What anchors ask of the context in Redis: matched by the rule in the server, fetched and claimed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from worker.errors import Poison
from worker.records import Candidate, Match, Query, Record, Reference
from worker.store.client import translated
from worker.store.codec import decode_member, encode_member, kept_record
from worker.store.epoch import Epochs

# Questions to one key answered in one call: about half a millisecond of the server.
MOST_ASKED = 64
# Woken anchors taken at once.
MOST_WOKEN = 10_000
_Asked = tuple[str, dict[str, list[int]]]  # key, and of each stream the places of its questions


class Questions(Epochs):
    """The matching of ContextStore."""

    def match(self, queries: Sequence[Query]) -> list[Match]:
        """See ContextStore.match. An anchor asks all its streams, and all anchors of a key ask, in one call."""
        if not queries:
            return []
        calls = list(_calls(queries))

        def fill(pipe: Any) -> None:
            for key, streams in calls:
                names = [name for stream in streams for name in self._keys(stream, key)]
                asked = [part for stream, places in streams.items() for part in self._asked(stream, places, queries)]
                self._fcall(pipe, "fusion_match", names, self._lifetime.data_ms, *asked)

        found: list[Any] = [None] * len(queries)
        for (_, streams), answers in zip(calls, self._watched(fill), strict=True):
            places = (place for each in streams.values() for place in each)
            for place, (complete, highest, bound, other, *members) in zip(places, answers, strict=True):
                found[place] = Match(
                    bool(complete),
                    tuple(map(decode_member, members)),
                    int(highest) if highest else None,
                    bound.decode() or None,
                    int(other) if other else None,
                )
        return found

    def _asked(self, stream: str, places: Sequence[int], queries: Sequence[Query]) -> Iterator[str | int]:
        rule = self._rules[stream]
        yield from (rule.mode, rule.before_us, rule.after_us, rule.lateness_us, rule.limit, len(places))
        for query in (queries[place] for place in places):
            yield from (query.time_us, f"{self._worker}|{query.token}", int(query.last))

    def fetch(self, wanted: Sequence[tuple[str, str, Candidate]]) -> list[Record | Reference | Poison | None]:
        """See ContextStore.fetch."""
        if not wanted:
            return []
        by_key: dict[tuple[str, str], list[int]] = {}
        for place, (stream, key, _) in enumerate(wanted):
            by_key.setdefault((stream, key), []).append(place)

        def fill(pipe: Any) -> None:
            for key, places in by_key.items():
                pipe.hmget(self._keys(*key)[1], [_member(wanted[place]) for place in places])

        found: list[Record | Reference | Poison | None] = [None] * len(wanted)
        for places, answers in zip(by_key.values(), self._watched(fill), strict=True):
            for place, kept in zip(places, answers, strict=True):
                found[place] = None if kept is None else kept_record(kept)
        self._confirm_gone([one for one, kept in zip(wanted, found, strict=True) if kept is None])
        return found

    def _confirm_gone(self, wanted: Sequence[tuple[str, str, Candidate]]) -> None:
        """A body whose event is still there was not trimmed: the key has lost a part."""

        def fill(pipe: Any) -> None:
            for one in wanted:
                pipe.zscore(self._keys(*one[:2])[0], _member(one))

        if wanted and any(score is not None for score in self._answers(fill)):
            self._end_epoch()

    def claim(self, stream: str, key: str, candidate: Candidate, token: str) -> bool:
        """See ContextStore.claim."""
        names, member = self._keys(stream, key), encode_member(candidate.time_us, candidate.id)
        ttl_ms = self._lifetime.data_ms
        return bool(self._answers(lambda pipe: self._fcall(pipe, "fusion_claim", names, member, token, ttl_ms))[0])

    def woken(self) -> list[str]:
        """See ContextStore.woken."""
        with translated():
            found = self._client.lpop(f"{self._prefix}:wake:{self._worker}", MOST_WOKEN)
        return [token.decode() for token in found or ()]


def _calls(queries: Sequence[Query]) -> Iterator[_Asked]:
    """By key, so many questions a call that none holds the server for long."""
    by_key: dict[str, list[int]] = {}
    for place, query in enumerate(queries):
        by_key.setdefault(query.key, []).append(place)
    for key, places in by_key.items():
        for begin in range(0, len(places), MOST_ASKED):
            streams: dict[str, list[int]] = {}
            for place in places[begin : begin + MOST_ASKED]:
                streams.setdefault(queries[place].stream, []).append(place)
            yield key, streams


def _member(wanted: tuple[str, str, Candidate]) -> bytes:
    return encode_member(wanted[2].time_us, wanted[2].id)
