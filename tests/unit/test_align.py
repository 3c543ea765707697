"""The waiting room: per key in order, keys do not wait for each other, nothing is left behind."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.records import Candidate, Event, Match, MatchRule, Missing, Partition, Query, Record
from worker.stages.align import WaitingRoom, reason_missing, wanted

RULES = {name: MatchRule(name, "nearest", 500, 500, 0, 16, 2_000, 30_000, False) for name in ("frames", "radar")}
DONE = Match(True, (Candidate(5, "x"),), 9)
OPEN = Match(False, (), None)


def anchor(key: str, offset: int, partition: int = 0) -> Event:
    """A text event."""
    record = Record("texts", partition, offset, 0, key.encode(), b"hello", (), 1)
    return Event("texts", key, str(offset), "test", offset, "text/plain", b"hello", record)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_each_key_leaves_in_its_order_whatever_the_order_of_decisions(keys: list[str], rng: object) -> None:
    """Only the head of a key's queue may leave, and in the end all have left."""
    room = WaitingRoom(RULES)
    waiting = [room.add(anchor(key, offset), 0.0) for offset, key in enumerate(keys)]
    queries = room.queries(w.token for w in waiting)
    rng.shuffle(queries)  # type: ignore[attr-defined]
    left: list[Event] = []
    for query in queries:
        assert room.decide(query, DONE, expired=False)
        left.extend(w.anchor for w in room.leave(2))
    while more := room.leave(2):
        left.extend(w.anchor for w in more)
    assert len(left) == len(keys)
    assert len(room) == room.bytes == 0
    for key in set(keys):
        offsets = [event.record.offset for event in left if event.key == key]
        assert offsets == sorted(offsets)


def test_an_incomplete_match_keeps_waiting_until_it_expires() -> None:
    """max_wait decides with what is there, and the result says that it is not complete."""
    room = WaitingRoom(RULES)
    waiting = room.add(anchor("a", 0), 0.0)
    frames, radar = room.queries([waiting.token])
    assert not room.decide(frames, OPEN, expired=False)
    assert room.decide(radar, DONE, expired=False)
    assert room.leave(9) == []
    assert room.decide(frames, OPEN, expired=True)
    assert room.leave(9) == [waiting]
    assert not waiting.complete
    assert wanted(waiting) == [("radar", "a", Candidate(5, "x"))]


def test_dropping_a_partition_lets_the_key_go_on() -> None:
    """The anchors of a revoked partition do not block those of another partition with the same key."""
    room = WaitingRoom(RULES)
    room.add(anchor("a", 0, partition=0), 0.0)
    other = room.add(anchor("a", 1, partition=1), 0.0)
    for query in room.queries([other.token]):
        room.decide(query, DONE, expired=False)
    assert room.leave(9) == []
    assert room.drop([Partition("texts", 0)]) == ["texts/0/0"]
    assert room.leave(9) == [other]


def test_answers_for_anchors_that_left_are_passed_over() -> None:
    """A late wake-up changes nothing."""
    room = WaitingRoom(RULES)
    assert not room.decide(Query("frames", "a", 0, "texts/0/9"), DONE, expired=False)
    assert room.queries(["texts/0/9"]) == []


def test_the_reason_of_a_missing_stream() -> None:
    """never_seen, out_of_tolerance and payload_expired are told apart."""
    assert reason_missing(Match(True, (), None)) is Missing.NEVER_SEEN
    assert reason_missing(Match(True, (), 7)) is Missing.OUT_OF_TOLERANCE
    assert reason_missing(Match(True, (), 7, "horizon")) is Missing.PAYLOAD_EXPIRED
