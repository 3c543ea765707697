"""`fusion-worker record`: rows are the oracle's pairs, bodies are what was sent, and nobody is disturbed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import KafkaAdminClient

from tests.integration.test_explain_command import overrides
from tests.oracle import match
from tests.store_fixtures import rule
from tests.story import Fed, headers_of, inside_a_minute, minutes_ago, nearest_frame, story
from tests.town import town
from tests.unit.incoming import JPEG
from worker.cli import main
from worker.training.samples import folder_rows

SPLITS = ("train", "dev", "test")


def rows(folder: Path, *splits: str) -> list[dict[str, Any]]:
    """The rows of some splits."""
    return [json.loads(line) for name in splits for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def ids(row: dict[str, Any], stream: str) -> list[str]:
    return [entry["id"] for entry in row["inputs"].get(stream, [])]


def groups(stack: Any) -> set[str]:
    """The consumer groups that the cluster knows."""
    admin = KafkaAdminClient(bootstrap_servers=stack.bootstrap_servers)
    found = {group["group_id"] for group in admin.list_groups()}
    admin.close()
    return found


def as_published(found: list[dict[str, Any]], results: list[dict[str, Any]], bodies: dict[str, bytes]) -> None:
    """Each row says what the result of its anchor says, and has the text that was sent and what its event tells."""
    by_id = {result["inputs"]["texts"]["id"]: result for result in results}
    for row in found:
        result = by_id[ids(row, "texts")[0]]
        assert [row[name] for name in ("label", "missing", "key", "time")] == [
            result[name] for name in ("label", "missing", "key", "time")
        ]
        assert row["inputs"]["texts"][0]["text"].encode() == bodies[ids(row, "texts")[0]]
        assert row["attributes"] == {"source": "/tests"}


def test_rows_are_the_oracles_pairs_with_the_results_labels(
    stack: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Matches, reasons, bodies and labels; a result's input is the row's; the training reads the folder."""
    events = story(21, minutes_ago(10), 30, 4)
    lonely = Fed(events[0].time_us, "texts", "nowhere", "lonely", b"nobody looks here")
    far = [Fed(lonely.time_us, "texts", "far", "far-t", b"too far"),
           Fed(lonely.time_us + 9_000_000, "frames", "far", "far-f", JPEG)]  # fmt: skip
    events += [lonely, *far]
    wanted, texts = nearest_frame(events), [event for event in events if event.stream == "texts"]
    with town(stack, tmp_path, streams={"frames": {"max_wait": "300ms"}}) as made:
        made.feed(events)
        made.feed(events[:20])  # The same frames once more are the same frames; anchors are read twice.
        made.start()
        again = sum(event.stream == "texts" for event in events[:20])
        made.read_until(lambda: len(made.results) >= len(texts) + again)
        assert made.stop() == [0]
        before, out = groups(stack), tmp_path / "out"
        assert main(["record", "--out", str(out), "--label-from", "results", *overrides(made)]) == 0
        assert groups(stack) == before
        found = rows(out, *SPLITS)
        assert len(found) == len(texts) + again
        assert {ids(row, "texts")[0]: (ids(row, "frames") or [None])[0] for row in found} == wanted
        as_published(found, made.results, {event.id: event.body for event in texts})
        assert {ids(row, "texts")[0]: row["missing"] for row in found if row["missing"]}.items() >= {
            "lonely": {"frames": "never_seen"}, "far-t": {"frames": "out_of_tolerance"},
        }.items()  # fmt: skip
        bodies = {event.id: event.body for event in events}
        used = {bodies[frame] for frame in wanted.values() if frame is not None}
        assert sorted(path.read_bytes() for path in (out / "bodies").iterdir()) == sorted(used)
        keys = [{row["key"] for row in rows(out, split)} for split in SPLITS]
        assert sum(map(len, keys)) == len(set().union(*keys))
        said = capsys.readouterr().out
        assert f"wrote {len(found)} rows" in said
        assert "frames never_seen 1" in said
        assert [row.sample.label for row in folder_rows(out, "train")] == [row["label"] for row in rows(out, "train")]
        assert main(["record", "--out", str(out), *overrides(made)]) == 2
        assert "holds train.jsonl already; name another folder" in capsys.readouterr().err


def test_a_window_and_labels_of_the_anchor(stack: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All events of a window in time order; the label is a field of the anchor; one without it is kept apart."""
    at = inside_a_minute(5)
    frames = [(at + n * 70_000, f"f{n}") for n in range(-4, 9)]
    body = json.dumps({"text": "lorry on its side", "label": "accident"}).encode()
    streams = {"frames": {"match": "window", "limit": 3, "before": "200ms", "after": "300ms"}}
    with town(stack, tmp_path, streams=streams) as made:
        made.feed([Fed(time, "frames", "k", name, JPEG + name.encode()) for time, name in frames])
        for name, value, kind in (("t0", body, b"application/json"), ("t1", b"no label", b"text/plain")):
            told = dict(headers_of(Fed(at, "texts", "k", name)))
            made.send("texts", "k", value, list({**told, "content-type": kind}.items()))
        made.send("texts", "k", b"\xff", headers_of(Fed(at, "texts", "k", "bad")))
        made.flush()
        out = tmp_path / "out"
        assert main(["record", "--out", str(out), "--label-attribute", "label", *overrides(made)]) == 0
        (row,) = rows(out, *SPLITS)
        used = rule("window", before_us=200_000, after_us=300_000, limit=3)
        assert ids(row, "frames") == [candidate.id for candidate in match(used, at, frames)]
        assert row["label"] == "accident"
        assert row["inputs"]["texts"][0]["text"] == "lorry on its side"
        for entry in row["inputs"]["frames"]:
            assert (out / entry["file"]).read_bytes() == JPEG + entry["id"].encode()
        (other,) = rows(out, "unlabelled")
        assert (ids(other, "texts"), other["label"]) == (["t1"], None)
        said = capsys.readouterr().out
        assert "1 keys are too few to divide by" in said
        assert "refused: 1" in said


def test_a_live_recording_ends_at_its_limit_and_at_ctrl_c(stack: Any, tmp_path: Path) -> None:
    """It waits for what is not there yet; interrupted it writes what it has and exits with 0."""
    events = story(5, inside_a_minute(5), 2, 3)
    with town(stack, tmp_path) as made:
        command = [sys.executable, "-m", "worker", "record", *overrides(made)]
        limited = subprocess.Popen([*command, "--out", str(tmp_path / "a"), "--limit", "4"], stdout=subprocess.PIPE)
        waiting = subprocess.Popen(
            [*command, "--out", str(tmp_path / "b"), "--seconds", "300"], stdout=subprocess.PIPE, text=True
        )
        made.feed(events)
        assert limited.wait(60) == 0
        assert len(rows(tmp_path / "a", *SPLITS)) == 4
        assert waiting.stdout is not None
        said = ""
        while "read 16 frames, 6 texts" not in said:
            said = waiting.stdout.readline()
            assert said, "it ended by itself"
        waiting.send_signal(signal.SIGINT)
        told, _ = waiting.communicate(timeout=60)
        assert waiting.returncode == 0
        assert "interrupted: what was read so far is written" in told
        pairs = {ids(row, "texts")[0]: (ids(row, "frames") or [None])[0] for row in rows(tmp_path / "b", *SPLITS)}
        assert pairs == nearest_frame(events)


def test_what_cannot_be_done_is_told(stack: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Shares that do not sum to 1, two sources of labels, topics that are not there."""
    out = ["record", "--out", str(tmp_path / "out")]
    for given, said in (
        (["--split", "train=0.8,dev=0.1"], "sum to 0.9; they must sum to 1"),
        (["--split", "train"], "'train' is not NAME=SHARE"),
        (["--label-from", "results", "--label-attribute", "x"], "not allowed with argument"),
        (["--since", "5"], "is not a duration"),
        (["--set", f"kafka.bootstrap_servers={stack.bootstrap_servers}", "--set", "streams.texts.topic=no.such"],
         "topics that do not exist: no.such"),
    ):  # fmt: skip
        assert main([*out, *given]) == 2
        assert said in capsys.readouterr().err
