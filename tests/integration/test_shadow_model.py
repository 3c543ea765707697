"""A shadow model in a real worker on real servers: results are those without it; what differs is right."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition
from safetensors.torch import load_file, save_file

from schemas.shadow import ShadowV1
from tests.story import Fed, minutes_ago, story
from tests.tiny import write_tiny_model
from tests.town import Town, town
from worker.feeds.junction import LABELS
from worker.model.sums import write_sums

ITEMS = r'^fusion_shadow_items_total{outcome="(\w+)"} (\S+)$'
PAIRS = r'^fusion_shadow_disagreements_total{label="(\w+)",shadow="(\w+)"} (\S+)$'


def counted(made: Town) -> Counter[str]:
    """What came of the items that were offered."""
    return Counter({what: int(float(n)) for what, n in re.findall(ITEMS, made.metrics(), re.MULTILINE) if float(n)})


def by_key(made: Town) -> dict[bytes, list[bytes]]:
    """The results as they lie there, in their order."""
    found: defaultdict[bytes, list[bytes]] = defaultdict(list)
    for record in made.raw:
        found[record.key].append(record.value)
    return dict(found)


def told(made: Town, most: int) -> list[dict[str, Any]]:
    """What lies in the shadow's topic, once so many do."""
    reader = KafkaConsumer(bootstrap_servers=made.stack.bootstrap_servers, auto_offset_reset="earliest", group_id=None)
    reader.assign([TopicPartition(f"{made.name}.shadow", 0)])
    found: list[dict[str, Any]] = []
    made.read_until(lambda: not found.extend(_polled(reader)) and len(found) >= most)
    reader.close()
    return found


def _polled(reader: Any) -> list[dict[str, Any]]:
    return [json.loads(one.value) for found in reader.poll(timeout_ms=100).values() for one in found]


@pytest.mark.parametrize("kind", ["hanging", "throwing", "contrary"])
def test_results_are_those_without_it(stack: Any, tmp_path: Path, kind: str) -> None:
    """Byte for byte; the worker is ready throughout, and ends as ever."""
    events = story(8, minutes_ago(60), keys=6, anchors_per_key=40)
    texts = sum(event.stream == "texts" for event in events)
    with town(stack, tmp_path, model={"shadow": kind}) as made, made.twin() as alone:
        alone.settings["model"] = {}
        made.feed(events)
        for one in (made, alone):
            one.start()
        for one in (made, alone):
            one.read_until(lambda one=one: len(one.results) == texts)  # type: ignore[misc]
        assert by_key(made) == by_key(alone)
        if kind == "throwing":
            made.read_until(lambda: "fusion_shadow_off 1.0" in made.metrics())
            assert made.log().count("shadow model is off") == 1
        elif kind == "hanging":
            made.read_until(lambda: counted(made)["dropped"] > 0)
        assert set(made.ask("readyz").values()) == set(alone.ask("readyz").values())
        assert made.stop() + alone.stop() == [0, 0]


def compared(made: Town, events: Sequence[Fed]) -> int:
    """Feeds so slowly that the shadow keeps up; how many texts there were."""
    for number in range(0, len(events), 6):
        made.feed(events[number : number + 6])
        made.read_until(lambda: sum(counted(made).values()) >= len(made.results))
    texts = sum(event.stream == "texts" for event in events)
    made.read_until(lambda: len(made.results) == texts, 180)
    made.read_until(lambda: sum(counted(made).values()) == texts)
    return texts


def hold_against(made: Town, labels: Mapping[str, str], texts: int) -> None:
    """What is counted and told, against the shadow's labels by the results' ids."""
    pairs = Counter((one["label"], labels[one["id"]]) for one in made.results if one["label"] != labels[one["id"]])
    assert pairs
    assert counted(made) == +Counter(disagreed=pairs.total(), agreed=texts - pairs.total())
    found = re.findall(PAIRS, made.metrics(), re.MULTILINE)
    assert {(label, other): int(float(n)) for label, other, n in found} == pairs
    read = [ShadowV1.model_validate(one) for one in told(made, pairs.total())]
    assert Counter((one.served.label, one.shadow.label) for one in read) == pairs
    assert {one.id: one.shadow.label for one in read}.items() <= labels.items()


def test_disagreements_are_counted_and_told(stack: Any, tmp_path: Path) -> None:
    """By pair of labels; the oracle computes by itself what the contrary model says."""
    events = story(9, minutes_ago(60), keys=3, anchors_per_key=12)
    other = {"even": "odd", "odd": "even"}
    bodies = {event.id: event.body for event in events}
    with town(stack, tmp_path, {"shadow": 1}) as made:
        made.settings["model"] = {"shadow": "contrary", "shadow_topic": f"{made.name}.shadow"}
        made.start()
        texts = compared(made, events)
        labels = {}
        for one in made.results:
            body = bodies[one["inputs"]["texts"]["id"]]
            label = ("even", "odd")[sum(body) % 2]
            labels[one["id"]] = other[label] if len(body) % 2 else label
        hold_against(made, labels, texts)
        assert made.stop() == [0]


def contrary_to(folder: Path, to: Path) -> Path:
    """A tiny model with another head."""
    other, names = write_tiny_model(to), []
    weights = load_file(folder / "model.safetensors")
    for name, one in weights.items():
        if one.shape[:1] == (len(LABELS),) and one.is_floating_point():
            weights[name], names = one.flip(0) * 10, [*names, name]
    assert names
    save_file(weights, other / "model.safetensors", {"format": "pt"})
    write_sums(other)
    return other


@pytest.mark.long
def test_disagreements_of_real_models(stack: Any, tmp_path: Path) -> None:
    """The oracle: a worker that serves the shadow's model."""
    served = write_tiny_model(tmp_path / "served")
    shadow = contrary_to(served, tmp_path / "shadow")
    events = story(9, minutes_ago(60), keys=3, anchors_per_key=12)
    model = {"path": str(served), "shadow": str(shadow)}
    with town(stack, tmp_path, {"shadow": 1}, cost_ms=None, model=model) as made, made.twin() as oracle:
        made.settings["model"] = {**model, "shadow_topic": f"{made.name}.shadow"}
        oracle.settings["model"] = {"path": str(shadow)}
        for one in (made, oracle):
            one.start()
        texts = compared(made, events)
        oracle.read_until(lambda: len(oracle.results) == texts)
        hold_against(made, {one["id"]: one["label"] for one in oracle.results}, texts)
        assert made.stop() + oracle.stop() == [0, 0]
