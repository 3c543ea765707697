"""Event (anchor) -> Aligned: who waits for what, per key in order.

Pure bookkeeping: it speaks with the store through the Query and Match values that the pipeline carries.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from worker.records import Candidate, Event, Match, MatchRule, Missing, Partition, Query, Record


@dataclass(slots=True, eq=False)
class Waiting:
    """An anchor on its way to alignment.

    Attributes:
        token: names the anchor: its place in Kafka.
        open: the context streams that are not decided yet.
        chosen: per decided stream what was matched.
        complete: False once `max_wait` has ended the wait of some stream.
        released: True once it holds no context back.
    """

    anchor: Event
    token: str
    since: float
    open: set[str]
    chosen: dict[str, Match] = field(default_factory=dict)
    complete: bool = True
    released: bool = False


class WaitingRoom:
    """All anchors of this worker that were read and are not on the model yet.

    Guarantees: the anchors of one key leave in the order in which they were read; keys do not wait for each other, and
    those that may leave do so in turns.

    Attributes:
        bytes: of the anchors.
        decided: how many wait for no context any more.
    """

    def __init__(self, rules: Mapping[str, MatchRule]) -> None:
        self._rules = rules
        self._by_token: dict[str, Waiting] = {}
        self._by_key: dict[str, deque[Waiting]] = {}
        self._by_partition: dict[Partition, dict[str, Waiting]] = {}
        self._ready_keys: OrderedDict[str, None] = OrderedDict()  # whose head may leave, in the order of their turns
        self.bytes = self.decided = 0

    def __len__(self) -> int:
        return len(self._by_token)

    @property
    def ready(self) -> int:
        """How many keys have one that may leave."""
        return len(self._ready_keys)

    def add(self, anchor: Event, since: float) -> Waiting:
        """Takes an anchor in; `since` is the monotonic time at which it was read."""
        waiting = Waiting(anchor, anchor.record.place, since, set(self._rules))
        self._keep(waiting)
        return waiting

    def _keep(self, waiting: Waiting) -> None:
        anchor = waiting.anchor
        self._by_token[waiting.token] = waiting
        self._by_key.setdefault(anchor.key, deque()).append(waiting)
        self._by_partition.setdefault(anchor.record.lies_on, {})[waiting.token] = waiting
        self.bytes += anchor.size
        self.decided += not waiting.open
        self._may_leave(anchor.key)

    def get(self, token: str) -> Waiting | None:
        """The anchor, unless it has left."""
        return self._by_token.get(token)

    def queries(self, tokens: Iterable[str], expired: Mapping[str, Collection[str]] | None = None) -> list[Query]:
        """What these anchors still have to ask; tokens that have left are passed over. `expired`: by token the streams
        whose answer is taken as it is."""
        last = expired or {}
        found = (self._by_token[token] for token in dict.fromkeys(tokens) if token in self._by_token)
        return [
            Query(stream, w.anchor.key, w.anchor.time_us, w.token, stream in last.get(w.token, ()))
            for w in found
            for stream in sorted(w.open)
        ]

    def decide(self, query: Query, match: Match, *, expired: bool) -> bool:
        """Notes an answer; True when it ends the wait for that stream. `expired`: `max_wait` is over for it."""
        waiting = self._by_token.get(query.token)
        if waiting is None or query.stream not in waiting.open or not (match.complete or expired):
            return False
        waiting.open.discard(query.stream)
        self.decided += not waiting.open
        waiting.chosen[query.stream] = match
        waiting.complete = waiting.complete and match.complete
        self._may_leave(waiting.anchor.key)
        return True

    def leave(self, most: int) -> list[Waiting]:
        """Up to `most` decided anchors that may go on to the model: the heads of their keys' queues, keys in turns."""
        out: list[Waiting] = []
        while self._ready_keys and len(out) < most:
            key, _ = self._ready_keys.popitem(last=False)
            line = self._by_key[key]
            out.append(line.popleft())
            if not line:
                del self._by_key[key]
            elif not line[0].open:
                self._ready_keys[key] = None
        for waiting in out:
            self._forget(waiting)
        return out

    def drop(self, partitions: Iterable[Partition]) -> list[str]:
        """Forgets the anchors of partitions that are no longer ours; returns their tokens."""
        gone = [w for p in partitions for w in self._by_partition.get(p, {}).values()]
        for waiting in gone:
            self._forget(waiting)
            line = self._by_key[waiting.anchor.key]
            line.remove(waiting)
            self._ready_keys.pop(waiting.anchor.key, None)
            if not line:
                del self._by_key[waiting.anchor.key]
            else:
                self._may_leave(waiting.anchor.key)
        return [waiting.token for waiting in gone]

    def _may_leave(self, key: str) -> None:
        """Gives a key its turn, unless it has one, once its head is decided."""
        if not self._by_key[key][0].open:
            self._ready_keys.setdefault(key)

    def reopen(self, left: Sequence[Waiting]) -> list[Waiting]:
        """All ask anew, those that had left last too: what was decided rests on context that is no longer there."""
        every = [*left, *self._by_token.values()]
        for known in (self._by_token, self._by_key, self._by_partition, self._ready_keys):
            known.clear()
        self.bytes = self.decided = 0
        for waiting in every:
            waiting.open, waiting.complete = set(self._rules), True
            waiting.chosen.clear()
            self._keep(waiting)
        return every

    def release(self, before_us: int) -> list[Record]:
        """The undecided anchors of earlier event times, each once: context need not wait for them."""
        found = [w for w in self._by_token.values() if w.open and not w.released and w.anchor.time_us < before_us]
        for waiting in found:
            waiting.released = True
        return [waiting.anchor.record for waiting in found]

    def tokens(self) -> list[str]:
        """All that wait."""
        return list(self._by_token)

    def oldest_since(self) -> float | None:
        """Monotonic time since when the longest waiting anchor waits."""
        return min((next(iter(found.values())).since for found in self._by_partition.values() if found), default=None)

    def _forget(self, waiting: Waiting) -> None:
        del self._by_token[waiting.token]
        del self._by_partition[waiting.anchor.record.lies_on][waiting.token]
        self.bytes -= waiting.anchor.size
        self.decided -= not waiting.open


def reason_missing(match: Match) -> Missing:
    """Why a decided stream has no match (CONTRACT section 2)."""
    if match.bound is not None:
        return Missing.PAYLOAD_EXPIRED
    return Missing.NEVER_SEEN if match.highest_us is None else Missing.OUT_OF_TOLERANCE


def wanted(waiting: Waiting) -> list[tuple[str, str, Candidate]]:
    """The context events to be fetched for an anchor that leaves."""
    return [
        (stream, waiting.anchor.key, candidate)
        for stream, match in sorted(waiting.chosen.items())
        for candidate in match.candidates
    ]
