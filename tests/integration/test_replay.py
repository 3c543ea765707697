"""Dead letters go back once, as they were, and keep their identity."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer

from tests.story import Fed, headers_of, minutes_ago
from tests.town import Town, town
from tests.unit.incoming import JPEG
from worker.broker.replay import STAGES, Plan, replay


def _replay(
    made: Town, *stages: str, limit: int | None = None, dry_run: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[int, int]:  # fmt: skip
    topics = (f"{made.name}.texts", f"{made.name}.frames")
    plan = Plan(f"{made.name}.dead", topics, f"{made.name}-replay", 30.0, 30.0)
    servers = {"bootstrap_servers": [made.stack.bootstrap_servers]}
    done = replay(servers, plan, stages=stages or STAGES, limit=limit, dry_run=dry_run, say=say)
    return done.sent, done.skipped


def _records(made: Town, topic: str) -> list[Any]:
    reader = KafkaConsumer(
        f"{made.name}.{topic}", bootstrap_servers=made.stack.bootstrap_servers, auto_offset_reset="earliest",
        isolation_level="read_committed", consumer_timeout_ms=1500,
    )  # fmt: skip
    found = list(reader)
    reader.close()
    return found


def test_letters_go_back_once_as_they_were(stack: Any, tmp_path: Path) -> None:
    """By stage, by limit, in a dry run; a second call sends nothing twice; attempts count on."""
    at = minutes_ago(5)
    with town(stack, tmp_path, {"texts": 1}) as made:
        made.feed([Fed(at, "frames", "k", "f", JPEG), Fed(at, "texts", "k", "poison", b"POISON")])
        made.send("texts", "plain", b"\xff")
        made.feed([Fed(at, "texts", "k", "bad", b"\xff")])
        made.start()
        made.read_until(lambda: len(made.dead) >= 3)
        assert made.stop() == [0]
        before = _records(made, "texts")

        assert _replay(made, dry_run=True) == (3, 0)
        assert _replay(made, "ALIGN") == (0, 0)
        assert _replay(made, "MODEL") == (1, 0)
        assert _replay(made, limit=1) == (1, 0)
        assert _replay(made) == (1, 0)
        assert _replay(made) == (0, 0)

        back = {record.value + (record.key or b""): record for record in _records(made, "texts")[len(before) :]}
        assert len(back) == 3
        poison, plain = back[b"POISONk"], back[b"\xffplain"]
        assert dict(poison.headers) == {**dict(headers_of(Fed(at, "texts", "k", "poison"))), "fusion.attempts": b"1"}
        came = next(record for record in before if record.key == b"plain")
        assert plain.timestamp == came.timestamp
        assert dict(plain.headers)["ce_id"].decode() == f"{made.name}.texts/{came.partition}/{came.offset}"

        made.start()
        made.read_until(lambda: len(made.dead) >= 6)
        assert made.stop() == [0]
        assert [dict(letter.headers)["fusion.attempts"] for letter in made.dead] == [b"1"] * 3 + [b"2"] * 3
        ids = [dict(letter.headers).get("ce_id") for letter in made.dead]
        assert sorted(ids[3:]) == sorted(dict(record.headers)["ce_id"] for record in back.values())


def test_a_mended_letter_has_its_result_under_the_same_id(stack: Any, tmp_path: Path) -> None:
    """A text that failed for want of its stream, replayed when the rule is mended, gives the id it would have had."""
    at = minutes_ago(5)
    required = {"frames": {"required": True, "max_wait": "100ms"}}
    with town(stack, tmp_path, {"texts": 1, "frames": 1}, streams=required) as made:
        made.feed([Fed(at, "texts", "k", "lonely", b"hello"), Fed(at, "texts", "k2", "other", b"hello")])
        made.send("frames", "k2", JPEG, headers_of(Fed(at, "frames", "k2", "f2")))
        made.flush()
        made.start()
        made.read_until(lambda: len(made.dead) >= 1 and len(made.results) >= 1)
        assert made.stop() == [0]
        made.settings["streams"]["frames"]["required"] = False
        assert _replay(made, "ALIGN") == (1, 0)
        made.start()
        made.read_until(lambda: len(made.results) >= 2)
        assert made.stop() == [0]
        assert made.results[1]["inputs"]["texts"]["id"] == "lonely"
        assert made.results[1]["missing"] == {"frames": "never_seen"}


@pytest.mark.parametrize("part", ["value", "headers", "key"])
def test_a_letter_that_is_not_all_there_is_passed_over(stack: Any, tmp_path: Path, part: str) -> None:
    """Its body, headers or key were left out: what went back would be another record; the others go."""
    with town(stack, tmp_path, {"texts": 1}) as made:
        place = [(f"__connect.errors.{name}", value) for name, value in _place(made)]
        stage = ("__connect.errors.stage", b"MODEL")
        made.send("dead", "k", b"", [*place, stage, (f"fusion.{part}_omitted_bytes", b"2000000")])
        made.send("dead", "k", b"all of it", [*place, stage])
        made.flush()
        said: list[str] = []
        assert _replay(made, say=said.append) == (1, 1)
        assert [record.value for record in _records(made, "texts")] == [b"all of it"]
        assert (
            f"passed over, the dead-letter topic did not take all of it (fusion.{part}_omitted_bytes = 2000000)"
            in (said[0])
        )


def _place(made: Town) -> list[tuple[str, bytes]]:
    return [("topic", f"{made.name}.texts".encode()), ("partition", b"0"), ("offset", b"7")]
