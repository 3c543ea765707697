"""`init`: a configuration to begin with, where each key says what it does."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from worker.describe import commented
from worker.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Purpose:
    """What one begins with: a sentence, the streams and what each is for, and the keys that are not at their default
    or are changed first; values as TOML has them."""

    head: str
    about: Mapping[str, str]
    values: Mapping[str, object]


def _servers(group: str) -> dict[str, object]:
    return {
        "kafka.bootstrap_servers": "localhost:9092", "kafka.group_id": group, "redis.url": "redis://localhost:6379/0",
    }  # fmt: skip


PURPOSES = {
    "traffic": Purpose(
        "Road junctions: each text report has one verdict, with what the junction's camera showed at that moment.",
        {
            "streams.reports": "What people report, in words: the anchor. Key: the junction.",
            "streams.cameras": "Frames of the junction's camera, the one nearest to the report. Key: the junction.",
            "model": "Not set: the model that ships, which knows the simulated junction. After `train`: your own.",
        },
        {
            **_servers("traffic"),
            "streams.reports.topic": "traffic.reports", "streams.reports.modality": "text",
            "streams.reports.role": "anchor",
            "streams.cameras.topic": "traffic.cameras", "streams.cameras.modality": "image",
            "streams.cameras.role": "context", "streams.cameras.match": "nearest", "streams.cameras.before": "500ms",
            "streams.cameras.after": "500ms", "streams.cameras.lateness": "0ms", "streams.cameras.max_wait": "2s",
            "streams.cameras.horizon": "30s",
            "output.topic": "traffic.verdicts", "output.dead_letter_topic": "traffic.dead", "output.evidence": True,
            "model.path": None,
        },
    ),
    "home": Purpose(
        "Homes: each sound has one verdict, with the readings and the sentence that came before it.",
        {
            "streams.sounds": "What the microphone heard, a second of WAV: the anchor. Key: the home.",
            "streams.sensors": "Readings of the last twenty seconds, as one series. A device that sends every five "
            "seconds ends the wait with its next reading. Key: the home.",
            "streams.texts": "The last sentence before the sound. The next may be an hour away, so none is waited for. "
            "Key: the home.",
            "model": "The home's model that ships knows the simulated home. After `train`: your own.",
        },
        {
            **_servers("home"),
            "streams.sounds.topic": "home.sounds", "streams.sounds.modality": "audio", "streams.sounds.role": "anchor",
            "streams.sensors.topic": "home.sensors", "streams.sensors.modality": "sensor",
            "streams.sensors.role": "context", "streams.sensors.match": "window", "streams.sensors.before": "20s",
            "streams.sensors.after": "0ms", "streams.sensors.max_wait": "6s",
            "streams.texts.topic": "home.texts", "streams.texts.modality": "text", "streams.texts.role": "context",
            "streams.texts.match": "latest", "streams.texts.before": "70s", "streams.texts.after": "0ms",
            "streams.texts.horizon": "2m", "streams.texts.max_wait": "200ms",
            "output.topic": "home.verdicts", "output.dead_letter_topic": "home.dead", "output.evidence": True,
            "model.path": "shipped:home",
        },
    ),
}  # fmt: skip


def add_init_arguments(parser: ArgumentParser) -> None:
    """What `init` takes."""
    what = "traffic: cameras and reports; home: sounds, sensors, sentences"
    parser.add_argument("purpose", choices=sorted(PURPOSES), help=what)
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="folder of the file (default: this one)"
    )
    parser.add_argument("--overwrite", action="store_true", help="the file may be there, and goes")


def init(chosen: Namespace, say: Callable[[str], None]) -> int:
    """Writes DIR/PURPOSE.toml and says what comes next.

    Raises:
        ConfigError: the file is there, or cannot be written.
    """
    path = chosen.out / f"{chosen.purpose}.toml"
    try:
        chosen.out.mkdir(parents=True, exist_ok=True)
        with path.open("w" if chosen.overwrite else "x", encoding="utf-8") as file:
            file.write(text_of(chosen.purpose))
    except FileExistsError as error:
        told = "is there already; --overwrite replaces it" if path.exists() else "is no folder"
        raise ConfigError(f"{path if path.exists() else chosen.out}: {told}") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
    say(f"wrote {path}; then: fusion-worker topics --config {path}, and check, and run")
    return 0


def text_of(purpose: str) -> str:
    """The file's text: TOML that `check` takes as it stands."""
    wanted = PURPOSES[purpose]
    head = f"# {wanted.head}\n# Written by `fusion-worker init {purpose}`; docs/start/{purpose}.md goes through it.\n"
    return (
        f"{head}# Every other key is at its default: docs/configuration.md.\n{commented(wanted.values, wanted.about)}"
    )
