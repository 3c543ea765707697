"""Whatever comes in on real topics, each record has one outcome, the good beside the bad go on, and the books agree."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.story import Fed, headers_of, minutes_ago
from tests.town import Town, town
from tests.unit.incoming import png
from tests.unit.media import four, jpeg, many_scans, patched, saved
from tests.unit.test_copies import Raw
from worker.demo.processes import free_port
from worker.feeds.junction import scene

GOOD = scene(np.random.default_rng(6))
CUT = scene(np.random.default_rng(2)).image
CMYK = saved(Image.fromarray(np.random.default_rng(1).integers(0, 255, (96, 128, 4), np.uint8), "CMYK"), "JPEG")
DEEP = b'{"text": "x", "more": ' + b"[" * 982 + b"]" * 982 + b"}"
Headers = dict[str, bytes | None]


@dataclass(frozen=True)
class Bad:
    """A record that cannot be read, and what its dead letter must say. Changed headers: None removes one."""

    name: str
    message: str
    stream: str = "frames"
    key: bytes | None = b"bad"
    value: bytes | None = GOOD.image
    headers: tuple[tuple[str, bytes | None], ...] = ()


BAD = [
    Bad("bomb", "= 900000000 pixels is over", value=png(30_000, 30_000), headers=(("content-type", b"image/png"),)),
    Bad("empty", "empty", value=b""),
    Bad("null", "null", value=None),
    Bad("frame of 9 MiB", "is over the limit of 8388608 bytes", value=GOOD.image + bytes(9 * 2**20)),
    Bad("text of 65 KiB", "is over the limit of 65536 bytes", "texts", value=b"x" * 65 * 1024),
    Bad("not UTF-8", "the text is not UTF-8 at byte 2", "texts", value=b"ab\xff"),
    Bad("wrong content type", "content type 'text/plain' is not the image", headers=(("content-type", b"text/plain"),)),
    Bad("no key", "the record has no key", key=None),
    Bad("key not UTF-8", "key is not UTF-8", key=b"\xff\xfe"),
    Bad("bad ce_time", "yesterday", headers=(("ce_time", b"yesterday"),)),
    Bad("unknown ce_specversion", "specversion is .*this worker reads 1.0", headers=(("ce_specversion", b"9.9"),)),
    Bad("1970", "it must be after 1970", headers=(("ce_time", b"1970-01-01T00:00:00Z"),)),
    Bad("before 1970", "it must be after 1970", headers=(("ce_time", b"1969-07-20T20:17:40Z"),)),
    Bad("2100", "ahead of the clock, over the limit of 30 s", headers=(("ce_time", b"2100-01-01T00:00:00Z"),)),
    Bad("not JSON", "JSON", "texts", value=b"{", headers=(("content-type", b"application/cloudevents+json"),)),
    Bad("JSON 983 deep", "nested deeper than the limit of 64", "texts", value=DEEP,
        headers=(("content-type", b"application/json"),)),
    Bad("scans", "more than 64 scans", value=many_scans(saved(four(), "JPEG", progressive=True), 64)),
    Bad("a long side", "over the limit of 65535", value=png(1, 39_999_999), headers=(("content-type", b"image/png"),)),
    Bad("4:1:0", "its components are sampled 4x2, 1x1, 1x1", value=patched(jpeg(four()), 11, 0x42)),
    Bad("no image", "JPEG header cannot be read|no signature", value=b"\xff\xd8 no image"),
]  # fmt: skip
UNDECODABLE = {
    "corrupt JPEG": (CUT[: len(CUT) // 2] + bytes(len(CUT) // 2), b"image/jpeg"),
    "truncated JPEG": (CUT[: len(CUT) // 2], b"image/jpeg"),
    "truncated CMYK": (CMYK[: len(CMYK) // 2] + b"\xff\xd9", b"image/jpeg"),
    "truncated PNG": (png(40, 30), b"image/png"),
}
STRANGE_KEYS = ["nul\0key", "bell\akey\n", "ключ 🔑", " ", "x" * 5000]


@dataclass(frozen=True)
class Outcomes:
    """All that came out, and the worker's metrics."""

    results: list[dict[str, Any]]
    dead: dict[str, Any]
    dead_count: int
    metrics: str
    start_us: int

    def of(self, text_id: str) -> list[dict[str, Any]]:
        """The results of the text with this id."""
        return [result for result in self.results if result["inputs"]["texts"]["id"] == text_id]

    def metric(self, pattern: str) -> float:
        """The sum of all series that match."""
        found = re.findall(rf"^{pattern}.* ([0-9.e+]+)$", self.metrics, re.MULTILINE)
        return sum(float(value) for value in found)


def _pair(key: str, name: str, at_us: int, image: bytes = GOOD.image) -> list[Fed]:
    return [Fed(at_us, "frames", key, f"{name}-f", image), Fed(at_us, "texts", key, f"{name}-t", GOOD.text.encode())]


def _feed(made: Town, start_us: int) -> int:
    """Feeds bad between good; returns how many results there must be."""
    good = 0
    for n, bad in enumerate(BAD):
        made.feed(_pair("good", f"good-{n}", start_us + n * 1_000_000))
        headers = {**dict(headers_of(Fed(start_us, bad.stream, "bad", bad.name))), **dict(bad.headers)}
        made.send(bad.stream, bad.key, bad.value, [(k, v) for k, v in headers.items() if v is not None])
        good += 1
    for key, (body, content_type) in UNDECODABLE.items():
        frame, text = _pair(key, key, start_us)
        headers = {**dict(headers_of(frame)), "content-type": content_type}
        made.send("frames", key, body, list(headers.items()))
        made.feed([text])
        good += 1
    for n, key in enumerate(STRANGE_KEYS):
        made.feed(_pair(key, f"strange-{n}", start_us))
        good += 1
    frame, text = _pair("odd header", "odd header", start_us)
    made.feed([frame])
    made.send("texts", text.key, text.body, [*headers_of(text), (Raw("odd"), b"v")])
    twin = _pair("twins", "twin", start_us)
    made.feed([*twin, twin[1], replace(twin[0], body=CUT)])
    return good + 3


@pytest.fixture(scope="module")
def outcomes(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    """One worker with the real model, fed all of it."""
    port, start = free_port(), minutes_ago(5)
    changes: dict[str, Any] = {"http": {"port": port}, "limits": {"dead_letter_ratio": 0.0}, "cost_ms": None}
    with town(stack, tmp_path_factory.mktemp("bad"), {"texts": 1, "frames": 1}, **changes) as made:
        wanted = _feed(made, start)
        made.start()
        made.read_until(lambda: len(made.results) >= wanted and len(made.dead) >= len(BAD) + len(UNDECODABLE))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            metrics = answer.read().decode()
        assert made.stop() == [0]
        made.read(1.0)
        dead = {dict(letter.headers)["ce_id"].decode(): letter for letter in made.dead}
        yield Outcomes(made.results, dead, len(made.dead), metrics, start)


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_a_record_that_cannot_be_read_is_a_dead_letter_as_it_came(outcomes: Outcomes, bad: Bad) -> None:
    """Key, value and headers are the record's own; stage, place and reason are added."""
    letter = outcomes.dead[bad.name]
    headers = dict(letter.headers)
    assert (letter.key, letter.value) == (bad.key, bad.value)
    assert {name: headers.get(name) for name, _ in bad.headers} == dict(bad.headers)
    assert headers["__connect.errors.stage"] == b"VALIDATE"
    assert headers["__connect.errors.topic"].decode().endswith(f".{bad.stream}")
    assert re.search(bad.message, headers["__connect.errors.exception.message"].decode())
    assert headers["fusion.attempts"] == b"1"


@pytest.mark.parametrize("name", list(UNDECODABLE))
def test_a_frame_that_proves_undecodable_costs_its_text_only_the_frame(outcomes: Outcomes, name: str) -> None:
    """The text has a result that names the stream as undecodable; the frame is a dead letter of stage DECODE."""
    (result,) = outcomes.of(f"{name}-t")
    assert result["missing"] == {"frames": "undecodable"}
    assert list(result["inputs"]) == ["texts"]
    letter = outcomes.dead[f"{name}-f"]
    assert letter.value == UNDECODABLE[name][0]
    assert dict(letter.headers)["__connect.errors.stage"] == b"DECODE"


def test_the_good_beside_the_bad_have_their_results(outcomes: Outcomes) -> None:
    """Each good text is matched to its own frame, with the verdict that this scene has."""
    for n in range(len(BAD)):
        (result,) = outcomes.of(f"good-{n}-t")
        assert result["inputs"]["frames"]["id"] == f"good-{n}-f"
        assert (result["label"], result["missing"], result["complete"]) == (GOOD.label, {}, True)


def test_keys_may_hold_anything_that_is_utf_8(outcomes: Outcomes) -> None:
    """NUL, control characters, any script, a space, five thousand letters: matched and told as they came."""
    for n, key in enumerate(STRANGE_KEYS):
        (result,) = outcomes.of(f"strange-{n}-t")
        assert result["key"] == key
        assert result["inputs"]["frames"]["id"] == f"strange-{n}-f"


def test_two_anchors_with_one_id_have_two_outcomes_with_one_id(outcomes: Outcomes) -> None:
    """And a frame that comes twice under one id is the one that came first."""
    first, second = outcomes.of("twin-t")
    assert first["id"] == second["id"]
    assert first["inputs"]["texts"]["offset"] != second["inputs"]["texts"]["offset"]
    assert first["inputs"]["frames"] == second["inputs"]["frames"]


def test_the_books_agree(outcomes: Outcomes) -> None:
    """As many outcomes as records that need one; the metrics count the same, and nothing is unaccounted for."""
    assert outcomes.dead_count == len(BAD) + len(UNDECODABLE)
    assert len(outcomes.results) == len(BAD) + len(UNDECODABLE) + len(STRANGE_KEYS) + 3
    assert outcomes.metric("fusion_dead_letters_total") == outcomes.dead_count
    assert outcomes.metric(r'fusion_dead_letters_total\{.*stage="DECODE"') == len(UNDECODABLE)
    assert outcomes.metric(r'fusion_events_total\{.*outcome="rejected"') == len(BAD)
    assert outcomes.metric("fusion_results_total") == len(outcomes.results)
    assert outcomes.metric("fusion_unaccounted_anchors") == 0
