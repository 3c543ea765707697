"""Records of the output's and the labels' topics -> what is told of an anchor: its verdict, and a person's answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from schemas.review import LabelV1
from worker.records import Record
from worker.stages.batch import SHED
from worker.strict_json import read_json

if TYPE_CHECKING:
    from worker.recording.gather import Anchor

Rank = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Published:
    """A result, as far as recording wants it; `embedding` None: it carries none, or it was not wanted."""

    label: str
    scores: Mapping[str, float]
    embedding: Any

    @property
    def margin(self) -> float:
        """By how much the highest score is above the next."""
        first, second, *_ = *sorted(self.scores.values(), reverse=True), 0.0, 0.0
        return first - second


class Results:
    """The last result of each anchor. One without the model (shed) says nothing of its anchor, and is not kept."""

    def __init__(self, anchor: str, *, whole: bool) -> None:
        """`anchor`: its stream; `whole`: keep scores and embeddings too, some KiB a result."""
        self._anchor, self._whole = anchor, whole
        self.by_name: dict[tuple[str, int, int], Published] = {}
        self.labels: set[str] = set()

    def add(self, record: Record) -> None:
        """Takes a record of the output topic.

        Raises:
            ValueError, KeyError, TypeError: it is no result.
        """
        body = read_json(record.value or b"")
        own = body["inputs"][self._anchor]
        name = (str(body["id"]), int(own["partition"]), int(own["offset"]))
        label, scores = str(body["label"]), {str(one): float(score) for one, score in dict(body["scores"]).items()}
        if label == SHED.label:
            return
        self.labels.update(scores)
        embedding = np.asarray(body["embedding"], np.float32) if self._whole and "embedding" in body else None
        self.by_name[name] = Published(label, scores if self._whole else {}, embedding)


class Answers:
    """The newest answer to each result, by the records' timestamps and then by their places."""

    def __init__(self) -> None:
        self._newest: dict[tuple[str, str], tuple[Rank, str | None]] = {}
        self._taken_back: dict[str, Rank] = {}
        self.bad: list[str] = []

    def add(self, record: Record) -> None:
        """Takes a record of the labels' topic; of one that is no answer `bad` says where it lies and why."""
        rank = (record.timestamp_ms, record.partition, record.offset)
        try:
            key = (record.key or b"").decode()
            if record.value is None:
                self._taken_back[key] = max(rank, self._taken_back.get(key, rank))
                return
            answer = LabelV1.model_validate(read_json(record.value))
            if answer.key != key:
                raise ValueError(f"its key is {answer.key!r}, that of the record {key!r}")
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            self.bad.append(f"{record.place}: {'.'.join(map(str, first['loc']))}: {first['msg']}")
        except ValueError as error:
            self.bad.append(f"{record.place}: {error}")
        else:
            known = self._newest.get((key, answer.id))
            if known is None or known[0] < rank:
                self._newest[key, answer.id] = rank, answer.label

    def of(self, key: str, result_id: str) -> str | None:
        """What a person says of a result; None: nothing, or nothing any more."""
        rank, label = self._newest.get((key, result_id), (None, None))
        back = self._taken_back.get(key)
        return label if rank is not None and (back is None or back < rank) else None


class Told:
    """What is told of the anchors beside their streams, and which label each has by it."""

    def __init__(
        self, anchor: str, output: str, labels: str | None, *, label_from: str | None, whole: bool, new: frozenset[str]
    ) -> None:
        """`anchor`: its stream; `output`, `labels`: topics; `label_from`: results, labels or None, for nothing;
        `new`: labels that answers may name although no result does."""
        self.results, self.answers, self._new = Results(anchor, whole=whole), Answers(), new
        self._from = label_from
        self.topics: dict[str, Callable[[Record], None]] = {}
        if label_from is not None or whole:
            self.topics[output] = self.results.add
        if label_from == "labels" and labels is not None:
            self.topics[labels] = self.answers.add
        self.unknown: Counter[str] = Counter()

    @property
    def gives_labels(self) -> bool:
        """Whether anchors have their labels from here."""
        return self._from is not None

    def label(self, anchor: Anchor) -> str | None:
        """As it was told; None: not, or not yet."""
        if self._from == "labels":
            return self.answers.of(anchor.key, anchor.result[0])
        found = self.results.by_name.get(anchor.result) if self._from == "results" else None
        return found.label if found else None

    def usable_label(self, anchor: Anchor) -> str | None:
        """Once all is read: the label, unless it is an answer that no result knows; that is counted in `unknown`."""
        label = self.label(anchor)
        known = self.results.labels
        if label is None or self._from == "results" or not known or label in known | self._new:
            return label
        self.unknown[label] += 1
        return None
