"""The shipped model on a GPU: `make gpu`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from tests.bench.job import aligned
from worker.feeds.junction import LABELS, scene
from worker.model.items import Item, collate, on_device
from worker.model.pictures import decode_image
from worker.model.runtime import ModelRuntime
from worker.records import Verdict

pytestmark = pytest.mark.gpu
DEVICE = "cuda:0"
MOST = 64
FURTHEST = 0.05  # Between the scores of bf16 and fp32.
_ROUNDS = 20


def runtime(precision: str = "fp32") -> ModelRuntime:
    """The shipped model on the card."""
    return ModelRuntime(
        path=None, device=DEVICE, precision=precision, anchor="texts",
        modalities={"texts": "text", "frames": "image"}, embedding=True, evidence=True,
    )  # fmt: skip


def items(model: ModelRuntime, count: int = MOST) -> list[Item]:
    """Scenes; every fourth has two frames more, every seventh no text."""
    rng = np.random.default_rng(5)
    scenes = [scene(rng, LABELS[n % len(LABELS)]) for n in range(count)]
    made = [model.prepare(aligned(one.text.encode(), one.image)) for one in scenes]
    frames = model._config.inputs.index("image")
    for number in range(0, count - 2, 4):
        images = tuple(made[number + step].bodies[frames][0] for step in range(3))
        bodies = list(made[number].bodies)
        bodies[frames] = images
        made[number] = Item(tuple(bodies))
    return [one.only([frames]) if number % 7 == 6 else one for number, one in enumerate(made)]


def told(verdicts: Sequence[Verdict]) -> list[dict[str, float]]:
    """The scores of each."""
    return [dict(one.scores) for one in verdicts]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8, 16, 31, 32, 33, 63, 64])
def test_neighbours_change_no_verdict(count: int) -> None:
    """An item's scores in company are its scores alone, for batches of 1 to 64."""
    model = runtime()
    some = items(model)
    alone = [told(model.infer([one]))[0] for one in some]
    order = np.random.default_rng(count).permutation(MOST)[:count]
    assert told(model.infer([some[n] for n in order])) == [alone[n] for n in order]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "auto"])
def test_a_batch_gives_the_same_bits_each_time(precision: str) -> None:
    """Scores, fused vectors and evidence of one batch do not change from call to call, nor from model to model."""
    first, second = runtime(precision), runtime(precision)
    some = items(first)
    wanted = first.infer(some)
    assert [first.infer(some) for _ in range(_ROUNDS)] == [wanted] * _ROUNDS
    assert second.infer(some) == wanted


def test_bf16_stays_near_fp32() -> None:
    """No score is further off than the bound."""
    exact, short = runtime(), runtime("bf16")
    some = items(exact)
    pairs = zip(told(exact.infer(some)), told(short.infer(some)), strict=True)
    assert max(abs(one[label] - other[label]) for one, other in pairs for label in one) < FURTHEST


def per_second(work: Callable[[], object], count: int) -> float:
    """Items a second."""
    work()
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(_ROUNDS):
        work()
    torch.cuda.synchronize()
    return _ROUNDS * count / (time.perf_counter() - began)


def test_throughput_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Printed, with its roofs: one thread that decodes, and the model alone on tensors that lie on the card."""
    model = runtime("auto")
    some = items(model)
    jpeg = scene(np.random.default_rng(5)).image
    decode = per_second(lambda: [decode_image(jpeg, model._config.image_size, "frames") for _ in some], MOST)
    with torch.inference_mode():
        given = on_device(collate(some, model._config), model._device)
        roof = per_second(lambda: model._model(**given, evidence=True), MOST)
    served = per_second(lambda: model.infer(some), MOST)
    with capsys.disabled():
        print(f"\n{torch.cuda.get_device_name()}, {model.info['precision']}, batches of {MOST}: served {served:,.0f} "
              f"items/s; model roof {roof:,.0f}; decode roof {decode:,.0f} JPEGs/s a thread")  # fmt: skip
    assert min(decode, roof, served) > 0
