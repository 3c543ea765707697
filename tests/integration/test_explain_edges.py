"""Explain at the edges of a log: markers, retention, required streams, bodies that fail, results that differ."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient

from tests.integration.test_explain_command import overrides
from tests.story import Fed, headers_of, minutes_ago
from tests.tiny import write_tiny_model
from tests.town import Town, town
from tests.unit.incoming import JPEG
from worker.broker.log import LogReader
from worker.cli import main
from worker.records import Partition


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The argument that names a tiny model."""
    return f"model.path={write_tiny_model(tmp_path_factory.mktemp('model'))}"


def explained(made: Town, capsys: pytest.CaptureFixture[str], place: str, *more: str) -> tuple[int, str, str]:
    """The exit code and what was said."""
    code = main(["explain", f"{made.name}.{place}", *overrides(made), *more])
    said = capsys.readouterr()
    return code, said.out, said.err


def await_end(stack: Any, topic: str, end: int) -> None:
    """The broker answers the end of a transaction before its mark is in the log."""
    deadline = time.monotonic() + 30
    with contextlib.closing(LogReader({"bootstrap_servers": [stack.bootstrap_servers]})) as log:
        while log.bounds(topic)[Partition(topic, 0)][1] < end:
            assert time.monotonic() < deadline


def test_a_marker_and_what_retention_deleted_are_told(
    stack: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An offset that holds a transaction's end, an aborted record, or nothing any more."""
    with town(stack, tmp_path, {"texts": 1}) as made:
        producer = KafkaProducer(bootstrap_servers=stack.bootstrap_servers, transactional_id=made.name)
        producer.init_transactions()
        for end in (producer.commit_transaction, producer.abort_transaction):
            producer.begin_transaction()
            producer.send(f"{made.name}.texts", key=b"k", value=b"x")
            producer.flush()
            end()
        producer.close()
        await_end(stack, f"{made.name}.texts", 4)
        for offset in (1, 2, 3):
            code, _, said = explained(made, capsys, f"texts/0/{offset}")
            assert (code, "no event is there: the mark of a transaction's end" in said) == (2, True), said
        made.send("texts", "k", b"x")
        made.flush()
        admin = KafkaAdminClient(bootstrap_servers=stack.bootstrap_servers)
        admin.delete_records({TopicPartition(f"{made.name}.texts", 0): 4})
        admin.close()
        code, _, said = explained(made, capsys, "texts/0/0")
        assert code == 2
        assert "the log begins at offset 4; retention has deleted what was before" in said
        code, _, said = explained(made, capsys, "texts/0/5")
        assert code == 2
        assert "the log ends before offset 5" in said


def test_no_topic_and_no_model_are_told(stack: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the command needs and does not find."""
    with town(stack, tmp_path) as made:
        made.settings["streams"]["texts"]["topic"] = f"{made.name}.none"
        code, _, said = explained(made, capsys, "none/0/0")
        assert code == 2
        assert f"no topic '{made.name}.none' in this cluster" in said


def test_a_required_stream_without_a_match_has_no_verdict(
    stack: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The match is told, then why the anchor is a dead letter."""
    at = minutes_ago(5)
    with town(stack, tmp_path, {"texts": 1}, streams={"frames": {"required": True}}) as made:
        made.feed([Fed(at, "texts", "k", "t", b"x"), Fed(at + 3_000_000, "frames", "k", "f", JPEG)])
        code, told, said = explained(made, capsys, "texts/0/0")
        assert code == 1
        assert "stage ALIGN, out_of_tolerance): stream 'frames' is required and has no match" in said
        assert "not chosen: 'f', 3000 ms later, out of bounds" in told


def test_neighbours_an_undecodable_frame_and_no_result(
    stack: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str
) -> None:
    """The match that fails when it is decoded is left out, as the worker does it; its neighbours are named."""
    at = minutes_ago(5)
    with town(stack, tmp_path, {"texts": 1}) as made:
        made.feed([
            Fed(at, "texts", "k", "t", b"x"),
            Fed(at - 50_000, "frames", "k", "cut", JPEG[:-40]), Fed(at + 60_000, "frames", "k", "next", JPEG),
            Fed(at, "frames", "other", "elsewhere", JPEG),
        ])  # fmt: skip
        made.send("frames", "k", b"no image", headers_of(Fed(at, "frames", "k", "bad")))
        made.flush()
        code, told, _ = explained(made, capsys, "texts/0/0", "--set", model)
        assert code == 0
        assert "4 records read, 2 of this key, 1 refused by validation; in bounds 2" in told
        assert "'cut', 50 ms earlier" in told
        assert "not chosen: 'next', 60 ms later, in bounds" in told
        assert "frames: what is matched is left out: stream 'frames': the image cannot be decoded" in told
        assert "published: no result with id" in told
        assert "max_wait, late events, bounds on what is kept and a retention that has passed" in told


def test_a_result_that_differs_is_told(
    stack: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str
) -> None:
    """Explained under other bounds than it was made under, the inputs differ; without slack late records are unseen."""
    at = minutes_ago(5)
    with town(stack, tmp_path, {"texts": 1}, cost_ms=None, model={"path": model.partition("=")[2]}) as made:
        made.feed([Fed(at - 90_000, "frames", "k", "f", JPEG), Fed(at, "texts", "k", "t", b"x"),
                   Fed(at + 2_000_000, "frames", "k", "later", JPEG)])  # fmt: skip
        made.start()
        made.read_until(lambda: len(made.results) >= 1)
        assert made.stop() == [0]
        code, told, _ = explained(made, capsys, "texts/0/0", "--set", model)
        assert (code, "the same label and the same inputs" in told) == (0, True), told
        code, told, _ = explained(made, capsys, "texts/0/0", "--set", model, "--set", "streams.frames.before=10ms")
        assert code == 0
        assert "not the same" in told
        assert f"frames: published f at {made.name}.frames/" in told
        assert "rebuilt nothing (out_of_tolerance)" in told
