"""A worker's page whose worker is played by the test: metrics, health and verdicts as it says, over the real server."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.unit.incoming import TIME, TIME_US, FixedClock
from worker.config import Settings
from worker.feeds.junction import Scene, scene
from worker.from_settings import access_of, tell_settings, writer_of
from worker.ops.health import Health
from worker.ops.http import OpsServer
from worker.ops.metrics import PrometheusObserver
from worker.pipeline.outcomes import Outcomes
from worker.records import Aligned, Confidence, Event, Masked, Missing, Record, Rejected, Stage, Verdict
from worker.showing import console_of
from worker.stages.batch import Fused

STREAMS = {
    "texts": {"topic": "texts-in", "modality": "text", "role": "anchor"},
    "frames": {"topic": "frames-in", "modality": "image", "role": "context"},
}
MODEL = {"name": "junction", "version": "7", "device": "cpu", "precision": "fp32"}


def event(stream: str, key: str, number: int, body: bytes, kind: str, raw: bytes | None = None) -> Event:
    """An event; `raw`: the body as it came, which the model alone sees, while `body` is the masked one."""
    named = {"specversion": "1.0", "id": f"{key}-{stream}-{number}", "source": "/t", "type": "t", "time": TIME.decode()}
    headers = (*((f"ce_{name}", value.encode()) for name, value in named.items()), ("content-type", kind.encode()))
    at = TIME_US + number * 1_000_000
    came = Record(f"{stream}-in", 0, number, at // 1000, key.encode(), raw or body, headers)
    record = came
    if raw is not None:
        record = Record(*came_but(came, body), masked=Masked(len(raw), came))
    return Event(stream, key, f"{key}-{stream}-{number}", "/t", at, kind, raw or body, record)


def came_but(came: Record, body: bytes) -> Sequence[Any]:
    """A record's parts with another value."""
    return came.topic, came.partition, came.offset, came.timestamp_ms, came.key, body, came.headers


class Played:
    """A worker as its page sees it."""

    def __init__(self, explain: Sequence[str] = (), **http: Any) -> None:
        given = {"http": {"console": True, "port": 0, **http}, "streams": STREAMS, "kafka": {"group_id": "junctions"}}
        self.settings = Settings.model_validate(given)
        self.observer, self.health, self.log = (
            PrometheusObserver(),
            Health(),
            SimpleNamespace(warning=print, info=print),
        )
        tell_settings(self.settings, self.observer, ("free_flow", "congestion", "accident", "emergency"))
        self.observer.gauge("model_info", 1, **MODEL)
        pages, heard = console_of(self.settings, self.observer, self.health, explain)
        assert pages is not None
        self.pages = pages
        committer: Any = SimpleNamespace(finish=lambda outcomes: None)
        writer, nobody = writer_of(self.settings, MODEL), {"texts-in": "texts"}
        self.outcomes = Outcomes(committer, writer, nobody, "texts-in", self.observer, FixedClock(), heard=heard)
        access = access_of(self.settings, self.log)
        registry = self.observer.registry
        self.server = OpsServer("127.0.0.1", self.settings.http.port, registry, self.health, access, pages)

    def says(self, *fused: Fused) -> None:
        """A batch is done."""
        self.outcomes.fused(fused)
        for one in fused:
            pattern = "+".join([one.aligned.anchor.stream, *sorted(one.aligned.inputs)])
            self.observer.count("results_total", label="congestion", complete="true")
            self.observer.count("inputs_present_total", pattern=pattern)
            self.observer.observe("end_to_end_seconds", 0.04)
            self.observer.observe("alignment_wait_seconds", 0.012, stream="frames")

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server.port}"

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Status, headers and body."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)) as link:
            link.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            answer = link.getresponse()
            return answer.status, answer.headers, answer.read()

    @contextlib.contextmanager
    def watching(self) -> Iterator[Iterator[tuple[str, Any]]]:
        """Somebody who looks: event by event, its name and what it tells."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)) as link:
            link.request("GET", "/console/live")
            answer = link.getresponse()
            assert answer.status == 200, answer.read()
            yield _events(answer)


def _events(answer: http.client.HTTPResponse) -> Iterator[tuple[str, Any]]:
    name = ""
    while line := answer.readline().decode():
        field, _, value = line.rstrip("\n").partition(": ")
        if field == "event":
            name = value
        if field == "data":
            yield name, json.loads(value)


@contextlib.contextmanager
def played(explain: Sequence[str] = (), **http: Any) -> Iterator[Played]:
    """Serves until the end of the block."""
    made = Played(explain, **http)
    made.server.start()
    try:
        yield made
    finally:
        made.server.stop()


def verdict(number: int, text: str | None = None, key: str | None = None, seen: Scene | None = None) -> Fused:
    """A verdict on a scene of the junction; every fourth has no frame."""
    rng = np.random.default_rng(number)
    seen = seen or scene(rng)
    key = key or f"junction-{number % 6 + 1}"
    anchor = event("texts", key, number, (text or seen.text).encode(), "text/plain")
    frame = event("frames", key, number, seen.image, "image/jpeg")
    lone = number % 4 == 3
    inputs = {} if lone else {"frames": (frame,)}
    missing = {"frames": Missing.OUT_OF_TOLERANCE} if lone else {}
    share = 0.4 + 0.58 * float(rng.random())
    others = [one for one in ("free_flow", "congestion", "accident", "emergency") if one != seen.label]
    scores = {seen.label: share, **dict.fromkeys(others, (1 - share) / 3)}
    told = Verdict(seen.label, share, scores, confidence=Confidence((seen.label,), 0.42))
    return Fused(Aligned(anchor, inputs, missing, not lone), told)


def dead_letter(number: int) -> Fused:
    """An anchor whose body cannot be read."""
    anchor = event("texts", "junction-9", number, b"\xff", "text/plain")
    rejected = Rejected(anchor.record, Stage.DECODE, "undecodable", "no text")
    return Fused(Aligned(anchor, {}, {}, True), None, (rejected,))
