"""Personal data planted in every part of records is in no place but Kafka's input topics: searched byte by byte."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image
from redis import Redis

from tests.integration.test_review_topics import committed
from tests.story import Fed, echoed, headers_of, inside_a_minute
from tests.town import Town, town
from worker.cli import main

# Each in the form in which it is planted, and in the others in which a place might hold it.
SECRETS = {
    "e-mail": ["anna.schmidt@example.org"],
    "phone": ["+49 151 2345 6789", "4915123456789", "2345 6789"],
    "card": ["4111 1111 1111 1111", "4111111111111111"],
    "plate": ["B-AB 1234"],
    "name": ["Anna Schmidt", "anna schmidt"],
}
TEXT = "Write to anna.schmidt@example.org or +49 151 2345 6789; 4111 1111 1111 1111, B-AB 1234, Anna Schmidt. "
MARK = b"\xfe\xedMARK anna.schmidt@example.org"
CAMERA = "cam-1"


def forms() -> list[tuple[str, bytes]]:
    """Every secret as UTF-8, and as JSON, base64-free media and UTF-16 would hold it."""
    return [
        (kind, form)
        for kind, some in SECRETS.items()
        for one in some
        for form in (one.encode(), one.encode("utf-16-le"), one.replace(" ", "%20").encode())
    ]


def picture(number: int) -> bytes:
    """A frame with noise of its own where the box is, and a mark behind its end."""
    pixels = np.full((240, 320, 3), 200, np.uint8)
    pixels[60:180, 80:240] = np.random.default_rng(number).integers(0, 255, (120, 160, 3), np.uint8)
    return simplejpeg.encode_jpeg(pixels, quality=95) + MARK


def in_redis(made: Town) -> Iterator[tuple[str, bytes]]:
    """Every key of the group and every value of every kind, as the server gives them."""
    client = Redis.from_url(made.stack.redis_url)
    keys = list(client.scan_iter(f"*{made.name}*", count=1000))
    assert keys
    read: Mapping[bytes, Any] = {
        b"string": lambda key: [client.get(key)],
        b"hash": lambda key: [part for pair in client.hgetall(key).items() for part in pair],
        b"zset": lambda key: client.zrange(key, 0, -1),
        b"set": lambda key: list(client.smembers(key)),
        b"list": lambda key: client.lrange(key, 0, -1),
        b"stream": lambda key: [part for _, fields in client.xrange(key) for pair in fields.items() for part in pair],
    }
    for key in keys:
        yield f"redis {key!r}", key
        for part in read[client.type(key)](key):
            yield f"redis {key!r}", part or b""
    client.close()


def in_records(place: str, records: Sequence[Any]) -> Iterator[tuple[str, bytes]]:
    """Keys, values, header names and header values."""
    for one in records:
        yield place, one.key or b""
        yield place, one.value or b""
        for name, value in one.headers:
            yield f"{place} {name}", name.encode() + b"\n" + (value or b"")


def in_folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of all files."""
    for path in folder.rglob("*"):
        yield f"{path}", str(path).encode()
        if path.is_file():
            yield f"{path}", path.read_bytes()


def found(parts: Iterator[tuple[str, bytes]]) -> list[str]:
    """Which secrets are where."""
    wanted = [*forms(), ("mark of a picture", MARK)]
    return [f"{kind} in {place}" for place, data in parts for kind, form in wanted if form.lower() in data.lower()]


def plant(made: Town, at: int) -> None:
    """Starts a worker on GOOD records with personal data in every part but keys and ids, and DEAD bad ones of many
    kinds. Texts come once it has read the frames: no machine's speed decides whether they find theirs in `max_wait`."""
    frames = [Fed(at + number * 1000, "frames", CAMERA, f"f{number}", picture(number)) for number in range(4)]
    cut = picture(8)[:3000] + MARK
    frames += [Fed(at, "frames", "cam-unknown", "u", picture(9)), Fed(at, "frames", CAMERA, "cut", cut)]
    made.feed(frames)
    made.start()
    read = re.compile(r'^fusion_events_total\{[^}]*stream="frames"[^}]*\} (\S+)', re.MULTILINE)
    made.read_until(lambda: sum(map(float, read.findall(made.metrics()))) == len(frames), START_SECONDS)
    _plant_good(made, at)
    _plant_bad(made, at)
    made.flush()


def _plant_good(made: Town, at: int) -> None:
    body, plain = TEXT.encode(), headers_of(Fed(at, "texts", CAMERA, "plain"))
    more = [("ce_subject", b"anna.schmidt@example.org"), ("anna.schmidt@example.org", b"x"), ("note", body),
            ("raw", b"\xff" + body), ("traceparent", b"anna.schmidt@example.org")]  # fmt: skip
    made.send("texts", CAMERA, body, [*plain, *more])
    twice = b'{"text": "%s", "text": "again %s", "card": 4111111111111111, "Anna Schmidt": ["%s"]}' % (body, body, body)
    as_json = _with(headers_of(Fed(at + 1000, "texts", CAMERA, "json")), "content-type", b"application/json")
    made.send("texts", CAMERA, twice, as_json)
    time = headers_of(Fed(at + 2000, "texts", CAMERA, "structured"))[4][1].decode()
    attributes = {
        "specversion": "1.0", "id": "structured", "source": "/tests", "type": "t", "subject": TEXT, "time": time,
        "data": TEXT, "number": 4111111111111111,
    }  # fmt: skip
    made.send("texts", CAMERA, json.dumps(attributes).encode(), [("content-type", b"application/cloudevents+json")])


def _plant_bad(made: Town, at: int) -> None:
    body, bad = TEXT.encode(), headers_of(Fed(at, "texts", "bad", "bad"))
    made.send("texts", "alone", body, headers_of(Fed(at, "texts", "alone", "alone")))
    for name in ("ce_time", "content-type", "ce_specversion"):
        made.send("texts", "bad", body, _with(bad, name, body))
    made.send("texts", "bad", body + b"\xff", bad)
    made.send("texts", "bad", body * 1000, bad)
    made.send("texts", "bad", b'{"text": "%s"' % body, _with(bad, "content-type", b"application/json"))


def _with(headers: Sequence[tuple[str, bytes]], name: str, value: bytes) -> list[tuple[str, bytes]]:
    return [(one, value if one == name else has) for one, has in headers]


GOOD, DEAD = 3, 9
# The real model loads, and on a machine with too much to do that takes minutes.
START_SECONDS = 240.0


def privacy(folder: Path, **more: Any) -> dict[str, Any]:
    """The section, with the list of names on disk."""
    (folder / "names.txt").write_text("Anna Schmidt\n王小明\n")
    boxes = [[CAMERA, 0.25, 0.25, 0.5, 0.5], ["alone"]]
    return {"enabled": True, "names": str(folder / "names.txt"), "boxes": boxes, **more}


def as_arguments(made: Town) -> list[str]:
    """The town's settings as `--set`."""
    told = [f"{section}.{key}={json.dumps(value) if not isinstance(value, str) else value}"
            for section in ("kafka", "redis", "output", "review", "privacy")
            for key, value in made.settings[section].items()]  # fmt: skip
    told += [f"streams.{name}.{key}={json.dumps(value) if not isinstance(value, str) else value}"
             for name, stream in made.settings["streams"].items() for key, value in stream.items()]  # fmt: skip
    return [part for one in told for part in ("--set", one)]


def everywhere(made: Town, reviews: Sequence[Any]) -> list[str]:
    """Which secrets are in Redis, the log, results, dead letters and reviews."""
    log = (made.folder / f"{made.name}.log").read_bytes()
    return [
        *found(in_redis(made)), *found(iter([("log", log), ("metrics", made.metrics().encode())])),
        *found(in_records("result", made.raw)), *found(in_records("dead letter", made.dead)),
        *found(in_records("review", reviews)),
    ]  # fmt: skip


def opened(stack: Any, folder: Path, section: Mapping[str, Any], **more: Any) -> Any:
    """A town in which every result is reviewed, and an anchor without a frame is a dead letter."""
    settings = {"streams": {"frames": {"required": True, "max_wait": "1s"}}, "log": {"level": "debug"}, **more}
    return town(stack, folder, {"reviews": 1, "labels": 1, "texts": 1, "frames": 1}, privacy=section, **settings)


def fed(made: Town, at: int) -> list[Any]:
    """Starts a worker on what is planted; the reviews, once all has its outcome."""
    made.settings["review"] = {"topic": f"{made.name}.reviews", "labels": f"{made.name}.labels", "below": 1.0}
    plant(made, at)
    made.read_until(lambda: len(made.results) == GOOD and len(made.dead) == DEAD, START_SECONDS)
    return committed(made.stack, f"{made.name}.reviews")


def test_what_is_planted_is_in_no_place(stack: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the real model and its evidence: not in Redis, logs, results, dead letters, reviews, nor in what record,
    explain, review and replay write; bad records' bodies are left out, and say so."""
    at = inside_a_minute(5)
    with opened(stack, tmp_path, privacy(tmp_path), cost_ms=None, output={"evidence": True}) as made:
        reviews = fed(made, at)
        assert everywhere(made, reviews) == []
        assert len(reviews) == GOOD
        told = [dict(letter.headers) for letter in made.dead]
        assert [one["fusion.privacy"] for one in told].count(b"left out") == DEAD - 1
        (whole,) = [letter for letter in made.dead if letter.value]
        assert whole.value == TEXT.encode().replace(b"+49 151 2345 6789", b"[phone]").replace(
            b"anna.schmidt@example.org", b"[email]").replace(b"4111 1111 1111 1111", b"[card]").replace(
            b"B-AB 1234", b"[plate]").replace(b"Anna Schmidt", b"[name]")  # fmt: skip
        assert made.stop() == [0]
        given = as_arguments(made)
        out = tmp_path / "written"
        assert main(["record", "--out", str(out / "record"), *given]) == 0
        assert main(["review", *given]) == 0
        own = made.results[0]["inputs"]["texts"]
        place = f"{own['topic']}/{own['partition']}/{own['offset']}"
        assert main(["explain", place, "--out", str(out / "explain"), *given]) == 0
        assert main(["explain", f"{own['topic']}/{own['partition']}/4", *given]) == 1
        before = len(committed(stack, f"{made.name}.texts"))
        assert main(["replay", *given]) == 0
        sent = committed(stack, f"{made.name}.texts")[before:]
        said = "".join(capsys.readouterr())
        assert found(iter([("said", said.encode())])) == []
        assert "[email]" in said
        assert len(sent) == 1
        assert found(in_records("sent back", sent)) == []
        assert "[privacy] has left its body out" in said
        assert found(in_folder(out)) == []
        assert hidden(out / "record")


def hidden(folder: Path) -> bool:
    """Whether the recording has pictures, and the box of each is of one colour, and the rest as it came."""
    pictures = [np.asarray(Image.open(path)) for path in folder.rglob("*.jpg")]
    boxes = [one[64:176, 80:240] for one in pictures]
    return (
        bool(pictures)
        and all(np.ptp(box) <= 2 for box in boxes)
        and all(abs(int(one[5, 5, 0]) - 200) < 4 for one in pictures)
    )


@pytest.mark.parametrize("on", [True, False])
def test_the_search_finds_what_is_not_masked(stack: Any, tmp_path: Path, on: bool) -> None:
    """Without [privacy] each place but the results holds what was planted: the search would see it. With
    before_model = false the model alone sees the bodies as they came, also those that Redis gives by their place."""
    section = privacy(tmp_path, before_model=False) if on else {}
    notes = {"notes": {"topic": "", "modality": "text", "role": "context"}}
    with opened(stack, tmp_path, section, streams={"frames": {"max_wait": "1s"}}) as made:
        made.settings["streams"]["notes"] = {**notes["notes"], "topic": f"{made.name}.labels"}
        made.settings["privacy"] = section
        at = inside_a_minute(5)
        made.send("labels", CAMERA, TEXT.encode(), headers_of(Fed(at, "texts", CAMERA, "note")))
        plant(made, at)
        made.read_until(lambda: len(made.results) >= GOOD and len(made.dead) >= (8 if on else 6), START_SECONDS)
        places = {re.split(r"[ ']", one.partition(" in ")[2])[0] for one in everywhere(made, [])}
        assert places == (set() if on else {"redis", "dead", "result"})
        if on:
            (plain,) = [one for one in made.results if one["inputs"]["texts"]["id"] == "plain"]
            assert plain["score"] == echoed(TEXT.encode(), [("f0", picture(0))])
