"""What `fusion-worker export` wrote for ONNX Runtime -> the answers of FusionModel.forward, without torch's kernels."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worker.errors import ConfigError
from worker.model.config import FusionConfig
from worker.model.folder import CONFIG, ONNX
from worker.model.fusion_model import FusionOutput
from worker.model.heads import Heads

PRECISION = "precision"  # In the file's own metadata: fp32 or int8.
ITEMS = "items"
POOLED = "pooled_"
HEADS, HEAD_COALITIONS = "heads", "head_coalitions"
# Items that go through the graph together: what lies between its layers then fits the processor's caches. Measured on
# the model that ships in int8, processor time an item: 4 items 1.84 ms, 8 items 1.68, 16 items 1.77, 32 items 2.03.
_AT_ONCE = 8


def input_names(config: FusionConfig) -> list[str]:
    """Of the graph, in their order: bodies and the item of each, per input of the model, as many items as B, and with
    `times` when each body was."""
    numbers = range(len(config.inputs))
    when = [f"when_{n}" for n in numbers] if config.times else []
    return [*(f"bodies_{n}" for n in numbers), *(f"item_of_{n}" for n in numbers), ITEMS, *when]


def shapes_of(config: FusionConfig) -> dict[str, tuple[int, ...]]:
    """Of the graph's inputs and its logits, without their first place; of a sound, which is cut before, nothing."""
    of_modality = {
        "image": (3, config.image_size, config.image_size),
        "text": (config.max_tokens,),
        "sensor": (config.max_steps, config.step_width),
    }
    bodies = {f"bodies_{n}": of_modality[one] for n, one in enumerate(config.inputs) if one in of_modality}
    heads = {HEADS: (Heads(config.heads).width,)} if config.heads else {}
    return bodies | {"logits": (config.num_labels,), **heads}


def output_names(config: FusionConfig, pooled: bool = True, evidence: bool = True) -> list[str]:
    """Of the graph: logits, F, further heads, each input's pooled features, and then evidence."""
    numbers = range(len(config.inputs))
    features = [f"{POOLED}{n}" for n in numbers] if pooled else []
    heads, sets = ([HEADS], [HEAD_COALITIONS]) if config.heads else ([], [])
    told = ["coalitions", *sets, *(f"weights_{n}" for n in numbers)] if evidence else []
    return ["logits", "fused", *heads, *features, *told]


def feed_of(
    config: FusionConfig, bodies: Sequence[Tensor], item_of: Sequence[Tensor], items: int, when: Sequence[Tensor] = ()
) -> dict[str, Any]:
    """The graph's inputs. A graph has no numbers beside its tensors, so that B is told by a tensor's length."""
    given = [*(one.numpy() for one in (*bodies, *item_of)), np.zeros(items, bool), *(one.numpy() for one in when)]
    return dict(zip(input_names(config), given, strict=True))


class OnnxModel:
    """Called as FusionModel is. Thread-safe: its session takes calls side by side, each on its caller's thread."""

    def __init__(self, folder: Path, config: FusionConfig, threads: int, *, pooled: bool = False) -> None:
        """`threads` may work on one call; `pooled` says whether its answers have the pooled features.

        Raises:
            ConfigError: ONNX Runtime is not installed, or the file is not a graph of this configuration.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise ConfigError(
                f"model.path = {str(folder)!r}: {ONNX} needs ONNX Runtime; install fusion-worker[onnx]"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # A thread that spins while it waits would take its core from Kafka's client and the decoders.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(
                str(folder / ONNX), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the library raises no narrower class
            raise ConfigError(f"model.path = {str(folder)!r}: {ONNX} cannot be loaded: {error}") from error
        self.config = config
        self.precision: str = self._session.get_modelmeta().custom_metadata_map.get(PRECISION, "")
        taken, told = ([one.name for one in found()] for found in (self._session.get_inputs, self._session.get_outputs))
        # Graphs from before have no pooled features, and serve models without confidence.
        names = output_names(config, pooled or f"{POOLED}0" in told)
        if (taken, told) != (input_names(config), names) or self.precision not in ("fp32", "int8"):
            raise ConfigError(f"model.path = {str(folder)!r}: {ONNX} is not of the model that its config.json tells; "
                              "it must be as `fusion-worker export` wrote it")  # fmt: skip
        self._compare(folder)
        self._pooled = pooled
        self._options = onnxruntime.RunOptions()
        # The evidence is part of the graph; it is computed when it is asked for.
        self._options.only_execute_path_to_fetches = True

    def _compare(self, folder: Path) -> None:
        shapes = {one.name: tuple(one.shape) for one in [*self._session.get_inputs(), *self._session.get_outputs()]}
        for name, wanted in shapes_of(self.config).items():
            held = shapes[name]
            fits = len(held) == len(wanted) + 1 and all(
                a == b or not isinstance(a, int) for a, b in zip(held[1:], wanted, strict=True)
            )
            if not fits:
                raise ConfigError(f"model.path = {str(folder)!r}: {ONNX}: {name} is of {list(held)}, "
                                  f"{CONFIG} tells [items, {', '.join(map(str, wanted))}]")  # fmt: skip

    def __call__(
        self, bodies: Sequence[Tensor], item_of: Sequence[Tensor], items: int, evidence: bool = False,
        when: Sequence[Tensor] = (),
    ) -> FusionOutput:  # fmt: skip
        """As FusionModel.forward, without what only training asks for; `item_of` must rise, as `collate` has it."""
        wanted = output_names(self.config, self._pooled, evidence)
        portions = -(-items // _AT_ONCE)
        ends = [items * number // portions for number in range(portions + 1)]
        answers = []
        for first, end in itertools.pairwise(ends):
            chosen = [_chosen(owners, first, end) for owners in item_of]
            cut, owners, times = ([one[chosen[n]] for n, one in enumerate(all_)] for all_ in (bodies, item_of, when))
            feed = feed_of(self.config, cut, [one - first for one in owners], end - first, times)
            answers.append(self._session.run(wanted, feed, self._options))
        logits, fused, *rest = (torch.from_numpy(np.concatenate(one)) for one in zip(*answers, strict=True))
        inputs = len(self.config.inputs)
        out = FusionOutput(logits=logits, fused=fused)
        if self.config.heads:
            out.heads, *rest = rest
        if self._pooled:
            out.views, rest = tuple(rest[:inputs]), rest[inputs:]
        if evidence:
            out.coalitions, *rest = rest
            if self.config.heads:
                out.head_coalitions, *rest = rest
            out.weights = tuple(rest)
        return out


def _chosen(item_of: Tensor, first: int, end: int) -> slice | list[int]:
    """Which bodies belong to these items; a lone one stands there twice, for the reason that `collate` tells."""
    begin, stop = np.searchsorted(item_of.numpy(), [first, end])
    return slice(begin, stop) if stop - begin != 1 else [begin, begin]
