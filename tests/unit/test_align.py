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


def test_keys_leave_in_turns_however_many_anchors_one_of_them_has() -> None:
    """A hot key does not starve the others, over many short calls or in a long one; each keeps its order."""
    room = WaitingRoom(RULES)
    waiting = [room.add(anchor("hot", offset), 0.0) for offset in range(10_000)]
    waiting += [room.add(anchor(key, 10_000 + n), 0.0) for n, key in enumerate("abcabc")]
    for query in room.queries(w.token for w in waiting):
        room.decide(query, DONE, expired=False)
    first = [w.anchor.key for _ in range(4) for w in room.leave(2)]
    assert first == ["hot", "a", "b", "c"] * 2
    rest = [w.anchor for w in room.leave(10_000)]
    assert {event.key for event in rest} == {"hot"}
    assert [event.record.offset for event in rest] == list(range(2, 10_000))
    assert len(room) == 0


def test_a_key_that_is_not_ready_any_more_takes_no_turn() -> None:
    """Its head waits, or it was dropped with its partition; the next key's turn comes at once."""
    room = WaitingRoom(RULES)
    gone, stays = room.add(anchor("a", 0, partition=0), 0.0), room.add(anchor("b", 1, partition=1), 0.0)
    room.add(anchor("b", 2, partition=1), 0.0)
    for query in room.queries([gone.token, stays.token]):
        room.decide(query, DONE, expired=False)
    room.drop([Partition("texts", 0)])
    assert room.leave(1) == [stays]
    assert room.leave(1) == []
