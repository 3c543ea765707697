"""What was produced and what was committed -> the demo's books."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from worker.demo.oracle import Moment, nearest
from worker.feeds.produce import Produced
from worker.records import Record


@dataclass(frozen=True, slots=True)
class Shown:
    """One result as the table shows it."""

    key: str
    text: str
    frame: str
    distance_ms: float | None
    label: str
    score: float
    missing: str


@dataclass(frozen=True, slots=True)
class Summary:
    """The books at the end. `faults` has a sentence for everything that may not be."""

    anchors: int
    results: int
    dead_letters: int
    pairs: int
    unaccounted: int
    doubled: int
    right_pairs: int
    right_labels: float
    p50_ms: float
    p99_ms: float
    faults: list[str]


class Tally:
    """Fed by the feed's thread and by the reader's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._texts: dict[str, Produced] = {}
        self._frames: dict[str, list[Moment]] = {}
        self._results: list[dict[str, Any]] = []
        self._dead: list[str] = []
        self._latencies_ms: list[int] = []

    def produced(self, one: Produced) -> None:
        """An event goes to Kafka."""
        with self._lock:
            if one.event.stream == "texts":
                self._texts[one.id] = one
            else:
                self._frames.setdefault(one.event.key, []).append((one.id, one.time_us))

    def committed(self, record: Record) -> None:
        """A result or dead letter has become visible."""
        if record.topic.endswith("fusions.dead"):
            headers = dict(record.headers)
            self._dead.append((headers.get("ce_id") or b"").decode())
            return
        result = json.loads(record.value or b"")
        self._results.append(result)
        with self._lock:
            self._latencies_ms.append(record.timestamp_ms - self._texts[_text_id(result)].sent_ms)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Texts fed, results, dead letters."""
        return len(self._texts), len(self._results), len(self._dead)

    @property
    def settled(self) -> bool:
        """Every text that was fed has an outcome."""
        texts, results, dead = self.counts
        return results + dead >= texts

    def latest(self, count: int) -> list[Shown]:
        """The last results, the newest first."""
        return [self._shown(result) for result in reversed(self._results[-count:])]

    def _shown(self, result: Mapping[str, Any]) -> Shown:
        frame = result["inputs"].get("frames", {})
        missing = ", ".join(f"{name}: {why}" for name, why in result["missing"].items())
        with self._lock:
            text = self._texts[_text_id(result)].event.body.decode()
        return Shown(
            result["key"], text, frame.get("id", ""), frame.get("delta_ms"), result["label"], result["score"], missing
        )

    def summary(self) -> Summary:
        """Holds what was committed against what was fed and against the oracle."""
        times = Counter([_text_id(result) for result in self._results] + self._dead)
        lost = [name for name in self._texts if name not in times]
        doubled = sum(count - 1 for count in times.values())
        right = [self._is_right(result) for result in self._results]
        labels = [result["label"] == self._texts[_text_id(result)].event.label for result in self._results]
        ordered = sorted(self._latencies_ms) or [0]
        faults = [f"{len(lost)} texts without an outcome, the first is {lost[0]}"] if lost else []
        faults += [f"{doubled} outcomes too many"] if doubled else []
        faults += [f"{right.count(False)} results with another frame than the oracle's"] if not all(right) else []
        faults += [] if self._results else ["no result at all"]
        return Summary(
            len(self._texts), len(self._results), len(self._dead),
            sum("frames" in result["inputs"] for result in self._results), len(lost), doubled, right.count(True),
            labels.count(True) / max(1, len(labels)), ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100],
            faults,
        )  # fmt: skip

    def _is_right(self, result: Mapping[str, Any]) -> bool:
        text = self._texts[_text_id(result)]
        wanted = nearest(text.time_us, self._frames.get(text.event.key, ()))
        found: str | None = result["inputs"].get("frames", {}).get("id")
        return found == (wanted[0] if wanted else None)

    def to_json(self) -> str:
        """The summary and what does not depend on the day: per text its frame and label."""
        told = sorted([_text_id(r), r["inputs"].get("frames", {}).get("id"), r["label"]] for r in self._results)
        return json.dumps({"summary": asdict(self.summary()), "results": told}, indent=1) + "\n"


def _text_id(result: Mapping[str, Any]) -> str:
    name: str = result["inputs"]["texts"]["id"]
    return name
