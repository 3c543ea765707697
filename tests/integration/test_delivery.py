"""One anchor, one verdict: whole workers on real Kafka and Redis, held against the oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis

from tests.story import minutes_ago, nearest_frame, story
from tests.town import Town, town, verdicts

# Event times end a minute and more ago, so that a backlog is read.
KEYS, ANCHORS = 8, 60


def settled(place: Town, anchors: int) -> None:
    """Reads until every anchor has its outcome, then whatever else might wrongly follow."""
    place.read_until(lambda: len(place.results) + len(place.dead) >= anchors)
    count = len(place.workers)
    assert place.stop() == [0] * count
    place.read(0.5)


def per_key_order(place: Town) -> None:
    """Results of one key come in the order of its anchors."""
    last: dict[str, int] = {}
    for result in place.results:
        offset = result["inputs"]["texts"]["offset"]
        assert offset > last.get(result["key"], -1)
        last[result["key"]] = offset


def content(place: Town) -> dict[str, Any]:
    """Every result by its text, without the places in Kafka, which differ between topics."""
    out = {}
    for result in place.results:
        inputs = {name: (one["id"], one["time"], one.get("delta_ms")) for name, one in result["inputs"].items()}
        out[result["inputs"]["texts"]["id"]] = (result["id"], result["label"], result["scores"], inputs)
    return out


def test_one_and_three_workers_give_the_same_results_and_the_oracles_pairs(stack: Any, tmp_path: Path) -> None:
    """How many workers run and how topics are partitioned changes nothing, and each anchor has one result."""
    events = story(7, minutes_ago(2), KEYS, ANCHORS)
    seen = []
    for workers, partitions in ((1, {"texts": 1, "frames": 1}), (3, {"texts": 4, "frames": 3})):
        with town(stack, tmp_path, partitions) as place:
            place.feed(events)
            place.start(workers)
            settled(place, KEYS * ANCHORS)
            assert len(place.results) == KEYS * ANCHORS
            assert place.dead == []
            assert verdicts(place.results) == nearest_frame(events)
            per_key_order(place)
            seen.append(content(place))
    assert seen[0] == seen[1]


@pytest.mark.long
def test_a_killed_worker_changes_nothing_but_time(stack: Any, tmp_path: Path) -> None:
    """SIGKILL in the middle, three times: none lost, none doubled, none changed, order kept."""
    events = story(11, minutes_ago(2), KEYS, 2 * ANCHORS)
    anchors = KEYS * 2 * ANCHORS
    with town(stack, tmp_path, cost_ms=10) as place:
        place.feed(events)
        place.start(2)
        for part in (0.2, 0.4, 0.6):
            place.read_until(lambda part=part: len(place.results) >= part * anchors)
            place.kill(place.workers[0])
            place.start()
        settled(place, anchors)
        assert len(place.results) == anchors
        assert verdicts(place.results) == nearest_frame(events)
        per_key_order(place)


def test_emptied_redis_loses_and_doubles_nothing(stack: Any, tmp_path: Path) -> None:
    """FLUSHALL of the group's keys in the middle: context is read again, the pairs are the oracle's."""
    events = story(13, minutes_ago(2), KEYS, 2 * ANCHORS)
    anchors = KEYS * 2 * ANCHORS
    with town(stack, tmp_path, cost_ms=10) as place:
        place.feed(events)
        place.start(2)
        server = redis.Redis.from_url(stack.redis_url)
        for part in (0.2, 0.5):
            place.read_until(lambda part=part: len(place.results) >= part * anchors)
            for key in server.scan_iter(f"fw:{place.name}:*", count=1000):
                server.delete(key)
        settled(place, anchors)
        assert len(place.results) == anchors
        assert verdicts(place.results) == nearest_frame(events)
        per_key_order(place)


def test_a_dead_camera_holds_a_result_no_longer_than_max_wait(stack: Any, tmp_path: Path) -> None:
    """With no new event at all, the wall clock ends the wait, and the result says what is missing."""
    events = [e for e in story(17, minutes_ago(1), 2, 3) if e.stream == "texts"]
    with town(stack, tmp_path, streams={"frames": {"max_wait": "500ms"}}) as place:
        place.start()
        place.feed(events)
        settled(place, len(events))
        assert {r["missing"]["frames"] for r in place.results} == {"never_seen"}
        assert not any(r["complete"] for r in place.results)


def test_at_least_once_loses_nothing_on_a_clean_stop(stack: Any, tmp_path: Path) -> None:
    """The weaker guarantee is chosen by one setting; a clean stop and start repeats nothing."""
    events = story(19, minutes_ago(2), 4, 40)
    with town(stack, tmp_path, delivery={"guarantee": "at_least_once"}) as place:
        half = events[: len(events) // 2]
        first = sum(event.stream == "texts" for event in half)
        place.feed(half)
        place.start()
        place.read_until(lambda: len(place.results) >= first - 4)
        assert place.stop() == [0]
        place.start()
        place.feed(events[len(half) :])
        settled(place, 160)
        assert verdicts(place.results) == nearest_frame(events)
        assert len(place.results) == 160


def test_a_group_that_begins_at_the_end_misses_nothing_while_nobody_runs(stack: Any, tmp_path: Path) -> None:
    """Its start is committed when it is ready: what comes after a kill, before any outcome, is read by the next."""
    events = story(19, minutes_ago(1), 4, 5)
    with town(stack, tmp_path, kafka={"auto_offset_reset": "latest"}) as place:
        place.feed(story(20, minutes_ago(2), 2, 3))
        (worker,) = place.start()
        place.read_until(
            lambda: all(said.strip() == "ready" for said in place.ask("readyz").values()) and place.ports()
        )
        place.kill(worker)
        place.feed(events)
        place.start()
        settled(place, 20)
        assert verdicts(place.results) == nearest_frame(events)
