"""FusionModel -> an ONNX graph, in fp32 or with int8 where that pays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from worker.errors import ConfigError
from worker.exporting.program import first_line, program_of, quiet
from worker.model.fusion_model import FusionModel
from worker.model.items import Item, collate
from worker.model.onnx_model import PRECISION, feed_of, input_names, output_names

# Weights with fewer numbers stay in fp32, and so do convolutions that are not 1x1: turning activations into int8 and
# back costs more than their arithmetic saves. Measured on the model that ships: with all convolutions in int8 1.83
# times the speed of fp32, with these 2.16; with activations kept in int8 through the additions and products of the
# backbone too, 2.04, and 6.5 points of accuracy lost.
_FEWEST_WEIGHTS = 96 * 96
_AT_ONCE = 16
_OF_WEIGHTS = ("Conv", "MatMul", "Gemm")


def write_onnx(model: FusionModel, items: Sequence[Item], file: Path) -> None:
    """The model, ready for serving, as an ONNX graph with evidence.

    Raises:
        ConfigError: it cannot be told in ONNX.
    """
    program = program_of(model, items, evidence=True)
    with quiet():
        try:
            made = torch.onnx.export(
                program, dynamo=True, verbose=False,
                input_names=input_names(model.config), output_names=output_names(model.config),
            )  # fmt: skip
        except Exception as error:  # as above
            raise ConfigError(f"--model: cannot be told in ONNX: {first_line(error)}") from error
    assert made is not None
    _save(made.model_proto, file, "fp32")


def write_int8(source: Path, model: FusionModel, items: Sequence[Item], file: Path) -> None:
    """An fp32 graph with its large matrix products and 1x1 convolutions in int8, weights per channel.

    The scale of each activation is a constant, found on `items`: so that a verdict does not depend on its neighbours.

    Raises:
        ConfigError: `items` lack one of the inputs, or no weight is large enough.
    """
    plain = file.with_name("plain.onnx")
    with quiet():
        # Weights that torch transposes in the graph become weights that can be seen.
        quant_pre_process(source, plain, skip_symbolic_shape=True)
    graph = onnx.load(plain).graph
    weights = {one.name: list(one.dims) for one in graph.initializer}
    chosen = [node.name for node in graph.node if node.op_type in _OF_WEIGHTS and _pays(node, weights)]
    if not chosen:
        raise ConfigError(f"--to int8: no layer of the model has {_FEWEST_WEIGHTS} weights, below which int8 is slower")
    with quiet():
        quantize_static(
            plain, file, _Calibration(model, items), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, nodes_to_quantize=chosen,
            op_types_to_quantize=list(_OF_WEIGHTS), extra_options={"MatMulConstBOnly": True},
        )  # fmt: skip
    plain.unlink()
    _save(onnx.load(file), file, "int8")


def _pays(node: Any, weights: dict[str, list[int]]) -> bool:
    shape = weights.get(node.input[1], [])
    if node.op_type == "Conv" and shape[1:2] + shape[2:] != shape[1:2] + [1] * len(shape[2:]):
        return False
    return bool(shape) and torch.Size(shape).numel() >= _FEWEST_WEIGHTS


class _Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Batches in which every input has bodies: the range of nothing cannot be taken."""

    def __init__(self, model: FusionModel, items: Sequence[Item]) -> None:
        count = -(-len(items) // _AT_ONCE)
        divided = [items[n::count] for n in range(count)]
        batches = [collate(batch, model.config) for batch in divided]
        whole = [feed_of(model.config, **one) for one in batches if all(len(bodies) for bodies in one["bodies"])]
        if not whole:
            raise ConfigError("--data: int8 is calibrated on the dev split, which lacks one of the model's inputs")
        self._feeds = iter(whole)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)


def _save(made: Any, file: Path, precision: str) -> None:
    """Without the places in our source that torch writes beside each node, and with what its weights are."""
    for node in made.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del made.metadata_props[:]
    onnx.helper.set_model_props(made, {PRECISION: precision})
    onnx.save(made, file)
