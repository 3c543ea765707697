"""The examples of docs/examples as a user runs them: two cameras and a radar; a home with the model that ships."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.result import ResultV1
from tests.story import minutes_ago
from tests.tiny import write_tiny_model
from tests.town import Town, town
from tests.unit.incoming import wav
from worker.durations import format_duration
from worker.feeds import home
from worker.feeds.junction import scene
from worker.feeds.produce import Produced, feed
from worker.settings import load

EXAMPLES = Path(__file__).parents[2] / "docs/examples"
HOME_MODEL = "shipped:home"
SECOND = 1_000_000
SCENE = scene(np.random.default_rng(1))
KINDS = {"image": "image/jpeg", "text": "text/plain", "sensor": "application/json", "audio": "audio/wav"}
Inputs = dict[str, Any]


class Example:
    """A town that runs an example's file, with addresses, topics and a model of its own."""

    def __init__(self, made: Town, name: str, model: Path | str, changes: Sequence[str]) -> None:
        own = load(EXAMPLES / f"{name}.toml", [], {}).settings
        at = {
            "kafka.bootstrap_servers": made.stack.bootstrap_servers,
            "kafka.group_id": made.name,
            "redis.url": made.stack.redis_url,
            "output.topic": f"{made.name}.fusions",
            "output.dead_letter_topic": f"{made.name}.dead",
            "model.path": model,
            "http.port": 0,
            "log.format": "json",
            "limits.dead_letter_ratio": 0,
            **{f"streams.{stream}.topic": f"{made.name}.{stream}" for stream in own.streams},
        }
        overrides = [*(f"{key}={value}" for key, value in at.items()), *changes]
        self.settings = load(EXAMPLES / f"{name}.toml", overrides, {}).settings
        made.settings = json.loads(json.dumps(self.settings.model_dump(), default=format_duration))
        self.town = made

    def tell(self, stream: str, key: str, name: str, at_us: int, body: bytes) -> None:
        """One event as a CloudEvent."""
        time = datetime.fromtimestamp(at_us / SECOND, UTC).isoformat().replace("+00:00", "Z")
        headers = {"ce_specversion": "1.0", "ce_id": name, "ce_source": "/tests", "ce_type": "test.event",
                   "ce_time": time, "content-type": KINDS[self.settings.streams[stream].modality]}  # fmt: skip
        self.town.send(stream, key, body, [(header, value.encode()) for header, value in headers.items()])

    def outcomes(self, results: int, dead: int) -> tuple[dict[str, ResultV1], dict[str, tuple[str, str]]]:
        """Of one worker, once so many have come out: results by their anchor's id; stage and message of dead letters.

        Every result is held against the published schema.
        """
        self.town.flush()
        self.town.start()
        self.town.read_until(lambda: len(self.town.results) >= results and len(self.town.dead) >= dead)
        assert self.town.stop() == [0]
        self.town.read(1.0)
        assert (len(self.town.results), len(self.town.dead)) == (results, dead)
        told = [ResultV1.model_validate(result) for result in self.town.results]
        letters = [{name: value.decode() for name, value in letter.headers} for letter in self.town.dead]
        errors = "__connect.errors."
        return (
            {ids(result)[self.settings.anchor]: result for result in told},
            {h["ce_id"]: (h[f"{errors}stage"], h[f"{errors}exception.message"]) for h in letters},
        )


@contextlib.contextmanager
def example(stack: Any, folder: Path, name: str, model: Path | str, *changes: str) -> Iterator[Example]:
    """The example `name`, changed by `--set`s."""
    streams = load(EXAMPLES / f"{name}.toml", [], {}).settings.streams
    with town(stack, folder, dict.fromkeys(streams, 2), cost_ms=None) as made:
        yield Example(made, name, model, changes)


def ids(result: ResultV1) -> Inputs:
    """The ids of a result's inputs by stream; of a window a list."""
    return {
        stream: [each.id for each in one] if isinstance(one, list) else one.id for stream, one in result.inputs.items()
    }


def number(name: str, value: object) -> bytes:
    """A reading of one number beside a count, as a device would write it."""
    return json.dumps({name: value, "count": 4, "device": "d-1"}).encode()


@pytest.fixture(scope="module")
def junction_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The inputs that docs/examples/junction.toml asks for."""
    return write_tiny_model(
        tmp_path_factory.mktemp("junction"), ["text", "image", "image", "sensor"], ["speed", "count"],
        ["reports", "north", "south", "radar"],
    )  # fmt: skip


def test_a_junction_with_two_cameras_and_a_radar(stack: Any, tmp_path: Path, junction_model: Path) -> None:
    """Each report has its two frames and the radar's last five seconds; a bad reading is a dead letter, once."""
    start = minutes_ago(5)
    with example(stack, tmp_path, "junction", junction_model) as made:
        for second in range(-5, 11):
            speed: object = {3: "fast", 6: 1e39}.get(second, 30 + second)
            made.tell("radar", "j-1", f"r{second}", start + second * SECOND, number("speed", speed))
        for n in range(5):
            at = start + 2 * n * SECOND
            for camera, off_us in (("north", -100_000), ("north", 300_000), ("south", 50_000)):
                if (camera, n) != ("south", 1):
                    made.tell(camera, "j-1", f"{camera}{n}{off_us:+}", at + off_us, SCENE.image)
            made.tell("reports", "j-1", f"t{n}", at, SCENE.text.encode())
        made.tell("south", "j-1", "south-last", start + 20 * SECOND, SCENE.image)
        made.tell("radar", "j-1", "no-numbers", start, b'{"unit": {"speed": "km/h"}}')
        results, dead = made.outcomes(5, 3)
    for n in range(5):
        result, bad = results[f"t{n}"], ("r3", "r6")
        wanted: Inputs = {"reports": f"t{n}", "north": f"north{n}-100000"}
        wanted |= {} if n == 1 else {"south": f"south{n}+50000"}
        wanted["radar"] = [f"r{s}" for s in range(2 * n - 5, 2 * n + 1) if f"r{s}" not in bad]
        assert ids(result) == wanted
        assert result.missing == ({"south": "out_of_tolerance"} if n == 1 else {})
        assert result.complete
        assert result.evidence is not None
        assert set(result.evidence.adds) == set(result.evidence.alone) == set(wanted)
        total = result.evidence.base + sum(result.evidence.adds.values())
        assert total == pytest.approx(result.evidence.confidence, abs=0.001)
    assert dead["r3"][0] == "DECODE"
    assert "stream 'radar': no sensor reading: field 'speed': 'fast' is not a number" in dead["r3"][1]
    assert dead["r6"][0] == dead["no-numbers"][0] == "VALIDATE"
    assert "field 'speed' holds a number beyond 3.403e+38" in dead["r6"][1]
    assert "none of the reading's 1 fields is a number" in dead["no-numbers"][1]


@pytest.mark.long
def test_a_window_of_a_camera(stack: Any, tmp_path: Path, junction_model: Path) -> None:
    """All frames of the window are the one input's; one that is cut off is a dead letter, and the others stay."""
    start = minutes_ago(5)
    window = ("streams.north.match=window", "streams.north.limit=4", "streams.south.required=true")
    with example(stack, tmp_path, "junction", junction_model, *window) as made:
        for n in range(-4, 5):
            body = SCENE.image[: len(SCENE.image) // 2] if n == 1 else SCENE.image
            made.tell("north", "j-1", f"n{n}", start + n * 200_000, body)
        made.tell("south", "j-1", "s", start, SCENE.image)
        made.tell("reports", "j-1", "t", start - 50_000, SCENE.text.encode())
        made.tell("reports", "j-1", "alone", start + 60 * SECOND, SCENE.text.encode())
        results, dead = made.outcomes(1, 2)
    assert ids(results["t"]) == {"reports": "t", "north": ["n-2", "n-1", "n0"], "south": "s"}
    assert results["t"].evidence is not None
    assert set(results["t"].evidence.adds) == {"reports", "north", "south"}
    assert results["t"].missing == {"radar": "never_seen"}
    assert dead["n1"][0] == "DECODE"
    assert dead["alone"][0] == "ALIGN"


def tone(seconds: float = 1.0, rate: int = 8_000, channels: int = 1) -> bytes:
    """A sound."""
    wave = 8_000 * np.sin(np.arange(round(rate * seconds)) * 2 * np.pi * 440 / rate)
    return wav(np.repeat(wave.astype("<i2"), channels).tobytes(), rate=rate, channels=channels)


def matched(anchor: Produced, told: Sequence[Produced]) -> Inputs:
    """What docs/examples/home.toml matches to a sound, by looking at every event."""
    before = {"sensors": 20 * SECOND, "texts": 70 * SECOND}
    near = [(one.event.stream, one.time_us, one.id) for one in told if one.event.stream in before]
    found = {
        stream: [name for own, at, name in near if own == stream and 0 <= anchor.time_us - at <= most]
        for stream, most in before.items()
    }
    latest = {"texts": found["texts"][-1]} if found["texts"] else {}
    return {"sounds": anchor.id, "sensors": found["sensors"], **latest}


def test_a_home_and_the_model_that_ships_for_it(stack: Any, tmp_path: Path) -> None:
    """Sounds have their readings and sentence, and nearly all the right label; bad bodies are dead letters."""
    told: list[Produced] = []
    with example(stack, tmp_path, "home", HOME_MODEL) as made:
        topics = {stream: f"{made.town.name}.{stream}" for stream in home.STREAMS}
        connection = {"bootstrap_servers": [made.town.stack.bootstrap_servers]}
        sent = feed(connection, topics, home.home_events(1, 1, 600.0), seconds=600, seed=1, speed=0,
                    say=print, heard=told.append)  # fmt: skip
        end = sent.start_us + 600 * SECOND
        made.tell("sensors", "home-1", "closes the last window", end, number("power", 100))
        made.tell("sensors", "home-1", "nan", end, b'{"power": NaN}')
        hollow = wav(np.full(800, np.nan, "<f4").tobytes(), bits=32, tag=3)
        for name, body in {
            "cut": tone()[:-1],
            "hollow": hollow,
            "long": wav(bytes(31_000), rate=1_000, bits=8),
        }.items():
            made.tell("sounds", "home-1", name, end, body)
        # As kcat sends them: no headers, and the record's own time.
        made.town.send("sensors", "hall", number("power", 100))
        made.town.flush()
        made.town.send("sounds", "hall", tone(0.3, 44_100, 2))
        results, dead = made.outcomes(sent.counts["sounds"] + 1, 4)
    plain = next(result for result in results.values() if result.key == "hall")
    assert set(plain.inputs) == {"sounds", "sensors"}
    sounds = [one for one in told if one.event.stream == "sounds"]
    assert {one.id: ids(results[one.id]) for one in sounds} == {one.id: matched(one, told) for one in sounds}
    assert np.mean([results[one.id].label == one.event.label for one in sounds]) > 0.85
    for one in sounds:
        evidence = results[one.id].evidence
        assert evidence is not None
        assert set(evidence.adds) == set(ids(results[one.id]))
        assert all(place.step is not None for place in evidence.places["sounds"])
    assert dead["cut"] == (
        "VALIDATE", "WAV header cannot be read: its data chunk declares 16000 bytes, 15999 are there; it is cut off"
    )  # fmt: skip
    assert dead["hollow"] == ("DECODE", "stream 'sounds': the sound cannot be read: a sample is not finite")
    assert dead["nan"][0] == dead["long"][0] == "VALIDATE"
    assert "sound of 31 s is over the limit of 30 s" in dead["long"][1]


@pytest.mark.long
def test_large_sounds_are_context_as_frames_are(stack: Any, tmp_path: Path) -> None:
    """Sounds of nearly 8 MiB go through Redis, the nearest of a key's several is matched, one byte too many is none."""
    start, largest = minutes_ago(5), tone(8 * 2**20 / 192_000 - 0.01, 48_000, 2)
    assert 8 * 2**20 - 10_000 < len(largest) <= 8 * 2**20
    swapped = (
        "streams.texts.role=anchor", "streams.sounds.role=context", "limits.max_audio_seconds=60",
        "streams.sensors.max_wait=200ms",
    )  # fmt: skip
    with example(stack, tmp_path, "home", HOME_MODEL, *swapped) as made:
        for n in range(4):
            made.tell("sounds", "home-1", f"m{n}", start + n * 300_000, largest)
        made.tell("sounds", "home-1", "too large", start, largest + bytes(2**20))
        made.tell("sounds", "home-1", "last", start + 5 * SECOND, tone())
        made.tell("texts", "home-1", "t", start + 650_000, b"good night")
        results, dead = made.outcomes(1, 1)
    assert ids(results["t"]) == {"texts": "t", "sounds": "m2"}
    assert results["t"].missing == {"sensors": "never_seen"}
    assert dead["too large"][0] == "VALIDATE"
    assert "over the limit of 8388608 bytes" in dead["too large"][1]
