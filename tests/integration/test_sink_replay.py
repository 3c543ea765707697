"""`fusion-worker sink KIND --replay`: a sink's dead letters, once more, to its own destination alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from tests.sinks import result, sinks
from tests.webhook_server import webhook_server


def test_letters_are_delivered_once_more_and_nobody_else_hears_of_it(stack: Any, tmp_path: Path) -> None:
    """What the receiver takes now comes under its old id, once however often it is replayed; what is no result is a
    letter again; on the results' topic there is nothing new."""
    with sinks(stack, tmp_path, 1) as made, webhook_server(tmp_path / "server") as server:
        rows = [result("k", n) for n in range(6)]
        bad = rows[2]["id"]
        server.answer(f"400 {bad}")
        made.feed(rows)
        made.send("k", b"no result")
        made.producer.flush()
        assert made.run("webhook", url=server.url) == 0
        assert len(made.letters("webhook")) == 2
        assert made.run("webhook", "--replay", url=server.url) == 0
        _, unread, refused, again = made.letters("webhook")
        assert (refused.value, again.value) == (made.letters("webhook")[0].value, unread.value)
        server.answer("ok")
        before = len(server.requests())
        for _ in range(2):
            assert made.run("webhook", "--replay", url=server.url) == 0
        assert [one["headers"]["webhook-id"] for one in server.requests()[before:]] == [bad]
        assert sorted(one["id"] for one in server.taken()) == sorted(one["id"] for one in rows)
        reader = KafkaConsumer(**made.connection)
        place = TopicPartition(made.topic, 0)
        assert reader.end_offsets([place])[place] == len(rows) + 1
        reader.close()
        code, line = made.fails("mqtt", "--replay", host="127.0.0.1")
        assert (code, "--replay: not with `sink mqtt`" in line) == (2, True)
