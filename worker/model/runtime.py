"""Aligned -> Verdict: a FusionModel that is served."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.errors import ConfigError, Poison
from worker.model.calibration import Temperatures, set_of
from worker.model.cuda import enter, on_host, pinned
from worker.model.drift import Drift
from worker.model.evidence import MOST_INPUTS, asked, evidence_of, scores_of
from worker.model.folder import folder_of
from worker.model.heads import Head, Heads
from worker.model.inputs import streams_of_inputs
from worker.model.items import Item, allocated, collate, on_device
from worker.model.preprocess import Body, Parts, Preprocessor, nobody
from worker.model.served import Served, lanes_of, serve
from worker.model.summary import Summary
from worker.model.sums import Sums, verified
from worker.records import Aligned, Event, Verdict

# Scores and embeddings are told to four places: more would be noise of the number format.
_PLACES = 4
MAX_TOKENS = "max_tokens"  # A bound of the model's own, as results and metrics call it.


class ModelRuntime:
    """worker.ports.Model on torch. Thread-safe; up to `lanes` calls of `infer` at once.

    Guarantees: a verdict depends on its own item alone, not on its neighbours or their number: texts are padded to the
    model's T and a batch of one is doubled, so that the same kernels see every item.

    Attributes:
        summary: which numbers of each item are watched.
        drift: the last verdicts against the reference; None: the model has none.
        prepares: models with the same one make the same items of the same anchors.
        sums: what its files were held against; None: they have no list.
        summarised: hears the numbers of each batch that was answered.
    """

    def __init__(
        self,
        *,
        path: str | None,
        device: str,
        precision: str,
        anchor: str,
        modalities: Mapping[str, str],
        inputs: Mapping[str, str] | None = None,
        embedding: bool = False,
        evidence: bool = False,
        served: Served | None = None,
        trusted_key: str | None = None,
    ) -> None:
        """Loads the model.

        Args:
            path: as `folder_of` has it: a from_pretrained directory or an exported one, or what ships.
            modalities: of every stream, by its name.
            inputs: stream -> name of the model's input that it feeds, where they are not called alike.
            anchor: the stream whose own body, if it cannot be decoded, costs the anchor.
            embedding, evidence: whether verdicts carry them.
            served: a model that is loaded already, instead of `path`, `device` and `precision`.
            trusted_key: as `sums.verify` has it.

        Raises:
            ConfigError: the directory, device or precision does not fit.
        """
        served, self.sums = (served, None) if served else _opened(folder_of(path), device, precision, trusted_key)
        self._config, self._device, self._model = served.config, served.device, served.ask
        self._knowledge = served.knowledge
        self.lanes, self._threads = lanes_of(self._device)
        self._lane = threading.local()
        self._allocate = pinned if self._device.type == "cuda" else allocated
        self._anchor, self._embedding, self._evidence = anchor, embedding, evidence
        self._preprocessor = Preprocessor(self._config, served.tokenizer)
        if evidence and len(self._config.inputs) > MOST_INPUTS:
            raise ConfigError(
                f"output.evidence: the model has {len(self._config.inputs)} inputs; every set of them would be asked, "
                f"which is done for up to {MOST_INPUTS}"
            )
        self._temperatures, self._heads = Temperatures(self._config), Heads(self._config.heads)
        self.summary = Summary(self._config, served.tokenizer)
        self.drift = Drift(served.reference, self.summary.names) if served.reference else None
        self.summarised: Callable[[NDArray[np.float64]], object] | None = self.drift.add if self.drift else None
        self._streams = streams_of_inputs(self._config, modalities, inputs or {})
        self.prepares = hashlib.sha256(repr((self._preprocessor.told, self._streams, anchor)).encode()).hexdigest()
        self.names = tuple("+".join(streams) for streams in self._streams)
        self.labels = tuple(self._config.id2label[n] for n in range(self._config.num_labels))
        told = self._config.name, served.version, str(self._device), served.precision
        self._info = dict(zip(("name", "version", "device", "precision"), told, strict=True))

    @property
    def info(self) -> Mapping[str, str]:
        """name, version, device, precision."""
        return self._info

    @property
    def heads(self) -> Sequence[Head]:
        """What it says beside the label."""
        return self._heads.each

    @property
    def tells_confidence(self) -> bool:
        """Whether verdicts carry it."""
        return self._knowledge is not None

    @property
    def trained_on_masked(self) -> bool | None:
        """As FusionConfig.masked."""
        return self._config.masked

    def prepare(self, aligned: Aligned, begins: Callable[[str, int], None] = nobody) -> Item:
        """Decodes and tokenises; `begins(stream, number)` hears of each body before it is decoded.

        Raises:
            Poison: stage DECODE; `stream` and `number` name the event whose body cannot be decoded.
        """
        made: list[Parts] = []
        truncated: dict[str, str] = {}
        for number, streams in enumerate(self._streams):
            found = [(name, event) for name in streams for event in self._events(aligned, name)]
            events = sorted(found, key=lambda one: one[1].time_us)
            given = [
                Body(event.payload, event.content_type, name, (event.time_us - aligned.anchor.time_us) / 1e6)
                for name, event in events
            ]
            made.append(self._preprocessor.read(number, given, begins))
            truncated |= dict.fromkeys(made[-1].cut, MAX_TOKENS)
        return Item(tuple(one.tensors for one in made), truncated, tuple(one.seconds for one in made))

    def _events(self, aligned: Aligned, stream: str) -> tuple[Event, ...]:
        return (aligned.anchor,) if stream == self._anchor else aligned.inputs.get(stream, ())

    def infer(self, batch: Sequence[Item]) -> list[Verdict]:
        """One verdict per item, in order.

        Raises:
            Poison: stage MODEL; some item gives scores that are not finite, or needs more memory than there is.
        """
        if not hasattr(self._lane, "ready"):
            # The number of threads that torch takes for an operation belongs to the thread that asks for it.
            torch.set_num_threads(self._threads)
            enter(self._device)
            self._lane.ready = True
        items = [*batch, batch[0]] if len(batch) == 1 else batch
        try:
            with torch.inference_mode():
                (scores, fused, strangeness, columns, sets, *answers), values = self._ask(items)
        except torch.OutOfMemoryError as error:
            raise Poison("MODEL", "out_of_memory", f"{len(batch)} items do not fit into memory: {error}") from error
        if not all(bool(one.isfinite().all()) for one in (scores, fused, columns)):
            raise Poison("MODEL", "not_finite", "the model's scores are not finite")
        rows, strange = scores.tolist(), strangeness.tolist()
        vectors = _rounded(fused) if self._embedding else [None] * len(items)
        told: Sequence[Any] = [None] * len(items)
        if self._evidence:
            told = evidence_of(rows, answers, items, self._config, self.names, self._preprocessor.words)
        verdicts = [self._verdict(*one) for one in zip(batch, rows, vectors, told, strange, strict=False)]
        if self._heads.each:
            verdicts = self._with_heads(items, verdicts, columns, sets)
        if self.summarised is not None and values is not None:
            self.summarised(self.summary.said(values, verdicts))
        return verdicts

    def _ask(self, items: Sequence[Item]) -> tuple[list[Tensor], NDArray[np.float64] | None]:
        """Scores [B, K], F [B, D] or [B, 0] if it is not told, how strange each is, [B, 1] or [B, 0], further heads'
        columns, of all inputs and of every set, and what evidence is told from, the device waited for once; and, while
        it works, the summary.
        """
        arguments = collate(items, self._config, self._allocate)
        out = self._model(**on_device(arguments, self._device), evidence=self._evidence)
        temperatures = self._temperatures.of_items(items)[:, 0]
        nothing, known = out.fused[:, :0], self._knowledge
        columns = [nothing if one is None else one.float() for one in (out.heads, out.head_coalitions)]
        strange = known.strangeness(out, [set_of(one.present) for one in items]) if known is not None else nothing
        answers = [scores_of(out.logits, temperatures), out.fused if self._embedding else nothing, strange, *columns]
        told = [*answers, *asked(out, items, self._temperatures, self._config.inputs)] if self._evidence else answers
        values = self.summary.of(arguments) if self.summarised is not None else None
        return on_host(told), values

    def _with_heads(
        self, items: Sequence[Item], verdicts: Sequence[Verdict], columns: Tensor, sets: Tensor
    ) -> list[Verdict]:
        rows = self._heads.read(columns)
        made = [replace(one, heads=own) for one, own in zip(verdicts, self._heads.results(rows), strict=False)]
        if not self._evidence:
            return made
        adds = self._heads.adds(rows, self._heads.read(sets), [one.present for one in items], self.names)
        return [
            replace(one, evidence={**(one.evidence or {}), "heads": own}) for one, own in zip(made, adds, strict=False)
        ]

    def _verdict(
        self,
        item: Item,
        row: Sequence[float],
        vector: tuple[float, ...] | None,
        evidence: Any,
        strange: Sequence[float],
    ) -> Verdict:
        """The label is that of the scores as they are, as in the evidence: rounded, two may be equal."""
        label = self.labels[row.index(max(row))]
        scores = {label: round(score, _PLACES) for label, score in zip(self.labels, row, strict=True)}
        known = self._knowledge
        confidence = known.of(set_of(item.present), row, self.labels, strange[0]) if known is not None else None
        return Verdict(label, scores[label], scores, vector, evidence, item.truncated, confidence)


def runtime_of(served: Served) -> ModelRuntime:
    """The model as a worker asks it, with a stream per input."""
    names = served.config.names
    streams = dict(zip(names, served.config.inputs, strict=True))
    return ModelRuntime(path=None, device="cpu", precision="auto", anchor=names[0], modalities=streams, served=served)


def _rounded(fused: Tensor) -> Sequence[tuple[float, ...]]:
    # What rounds to -0 is 0.
    return [tuple(row) for row in (np.round(fused.double().numpy(), _PLACES) + 0.0).tolist()]


def _opened(folder: Path, device: str, precision: str, trusted_key: str | None) -> tuple[Served, Sums | None]:
    with verified(folder, trusted_key) as sums:
        return serve(folder, device, precision), sums
