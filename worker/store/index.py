"""Context events by (stream, key, time) into Redis, and word to the anchors that they complete."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from redis.exceptions import OutOfMemoryError

from worker.errors import Full
from worker.records import Event
from worker.store.client import raise_first
from worker.store.codec import encode_kept, encode_member
from worker.store.epoch import Epochs

# Waiters of one key told in one step: about half a millisecond of the server.
MOST_TOLD = 500
# Bytes of events in one pipeline: client and server hold them twice, and nothing else is answered meanwhile.
MOST_BYTES = 2**22
_Key = tuple[str, str]  # stream, key


class _Put(NamedTuple):
    """One event on its way: its place in the call, its time, and what Redis is given."""

    place: int
    time_us: int
    member: bytes
    kept: bytes


class Events(Epochs):
    """The indexing of ContextStore."""

    def index(self, events: Sequence[Event], needed_us: int | None = None) -> int:
        """See ContextStore.index."""
        self._indexed_us = max([self._indexed_us, *(event.time_us for event in events)])
        late, refused, cause = 0, dict[_Key, list[int]](), None
        for part in self._in_parts(events):
            # Of a key that was refused nothing may go in before what was refused.
            for key in [key for key in part if key in refused]:
                refused[key] += [put.place for put in part.pop(key)]
            more_late, left, error = self._index_part(part, needed_us)
            late, cause = late + more_late, error or cause
            refused |= left
        if refused:
            raise Full(f"Redis: {cause}", [place for places in refused.values() for place in places])
        return late

    def _in_parts(self, events: Sequence[Event]) -> Iterator[dict[_Key, list[_Put]]]:
        """By key, in the order of the call; of each part the bytes are bounded, or it is one event."""
        part: dict[_Key, list[_Put]] = {}
        size = 0
        for place, event in enumerate(events):
            kept = encode_kept(event.record, self._inline_bytes)
            size += len(kept)
            if size > MOST_BYTES and part:
                yield part
                part, size = {}, len(kept)
            put = _Put(place, event.time_us, encode_member(event.time_us, event.id), kept)
            part.setdefault((event.stream, event.key), []).append(put)
        yield part

    def _index_part(
        self, part: Mapping[_Key, list[_Put]], needed_us: int | None
    ) -> tuple[int, dict[_Key, list[int]], OutOfMemoryError | None]:
        """How many came late, which were refused, and why."""
        answers = self._put("fusion_index", part)
        error = next((answer for answer in answers.values() if isinstance(answer, OutOfMemoryError)), None)
        left = {key: part[key] for key, answer in answers.items() if isinstance(answer, OutOfMemoryError)}
        if left:
            admitted = self._relieve(left, needed_us)
            answers |= self._put("fusion_index_needed", admitted)
            left = {key: puts[len(admitted.get(key, ())) :] for key, puts in left.items()}
        late = self._wake({key: answer for key, answer in answers.items() if not isinstance(answer, Exception)})
        raise_first([answer for answer in answers.values() if not isinstance(answer, OutOfMemoryError)])
        return late, {key: [put.place for put in puts] for key, puts in left.items() if puts}, error

    def _put(self, function: str, puts: Mapping[_Key, Sequence[_Put]]) -> dict[_Key, Any]:
        """What the server answers for each key."""

        def fill(pipe: Any) -> None:
            for (stream, key), some in puts.items():
                rule, (most_events, most_bytes) = self._rules[stream], self._bounds[stream]
                self._fcall(
                    pipe, function, self._keys(stream, key),
                    rule.lateness_us, rule.kept_us, most_events, most_bytes, self._lifetime.data_ms,
                    rule.after_us if rule.mode == "nearest" else "", MOST_TOLD,
                    *(part for put in some for part in put[2:]),
                )  # fmt: skip

        return dict(zip(puts, self._execute(fill), strict=True)) if puts else {}

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
        """Tells these, then strikes their notes out; returns those of the same keys that come next.

        One server runs a pipeline in its order. In a cluster a note might be struck out on one node while word to its
        waiter does not reach another: there the two go one after the other.
        """

        def tell(pipe: Any) -> None:
            self._tell(pipe, waiters)

        def strike_out(pipe: Any) -> None:
            for key, told in waiters.items():
                self._fcall(pipe, "fusion_told", self._keys(*key), reached[key], MOST_TOLD, *told)

        def both(pipe: Any) -> None:
            tell(pipe)
            strike_out(pipe)

        if self._is_cluster:
            self._answers(tell)
        more = self._answers(strike_out if self._is_cluster else both)[-len(waiters) :]
        return {key: found for key, found in zip(waiters, more, strict=True) if found}

    def _tell(self, pipe: Any, waiters: Mapping[_Key, Iterable[bytes]]) -> None:
        woken: defaultdict[bytes, list[bytes]] = defaultdict(list)
        for waiter in (waiter for each in waiters.values() for waiter in each):
            worker, _, token = waiter.partition(b"|")
            woken[worker].append(token)
        for worker, tokens in woken.items():
            own = f"{self._prefix}:wake:{worker.decode()}"
            self._fcall(pipe, "fusion_wake", (own,), self._lifetime.data_ms, *dict.fromkeys(tokens))

    def _relieve(
        self, refused: Mapping[_Key, Sequence[_Put]], needed_us: int | None
    ) -> dict[_Key, Sequence[_Put]]:  # fmt: skip
        """A full server takes no event, which is when old ones would go.

        Returns:
            The refused events without which the slowest anchor would wait for ever: of each key all up to the first
            that completes it. They go in although the server is full, or nothing would ever leave it.
        """

        def fill(pipe: Any) -> None:
            for (stream, key), puts in refused.items():
                rule = self._rules[stream]
                reach_us = rule.before_us + rule.after_us + rule.lateness_us
                needed = "" if needed_us is None else needed_us - rule.before_us
                newest_us = max(put.time_us for put in puts)
                self._fcall(pipe, "fusion_relieve", self._keys(stream, key), newest_us, reach_us, needed)

        admitted: dict[_Key, Sequence[_Put]] = {}
        for (key, puts), answer in zip(refused.items(), self._answers(fill), strict=True):
            rule, highest_us, places = self._rules[key[0]], int(answer), 0
            while (
                needed_us is not None
                and places < len(puts)
                and highest_us <= needed_us + rule.after_us + rule.lateness_us
            ):
                highest_us = max(highest_us, puts[places].time_us)
                places += 1
            if places:
                admitted[key] = puts[:places]
        return admitted
