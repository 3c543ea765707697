"""What a GPU asks for, as far as a CPU shows it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.bench.job import aligned
from worker.feeds.junction import LABELS, scene
from worker.model import cuda
from worker.model.constant import Constant
from worker.model.cuda import card_of, half_of, packed, summed, unpacked
from worker.model.folder import SHIPPED, WEIGHTS
from worker.model.items import Item, collate
from worker.model.load import device_of, load, number_format
from worker.model.packages import ADDITIONS, PARTS
from worker.model.runtime import ModelRuntime
from worker.model.served import serve, within


def runtime() -> ModelRuntime:
    """The shipped model, telling all it can."""
    return ModelRuntime(
        path=None, device="cpu", precision="fp32", anchor="texts",
        modalities={"texts": "text", "frames": "image"}, embedding=True, evidence=True,
    )  # fmt: skip


def items(model: ModelRuntime, count: int = 5) -> list[Item]:
    """Some scenes."""
    rng = np.random.default_rng(3)
    scenes = [scene(rng, LABELS[n % len(LABELS)]) for n in range(count)]
    return [model.prepare(aligned(one.text.encode(), one.image)) for one in scenes]


def test_constants_are_no_weights_and_stay_exact() -> None:
    """The shipped weights load bit for bit; means and deviations are not among them, and no format rounds them."""
    # What its package has, and what was added to that, tests/unit/test_training.py looks at.
    model, _ = load(SHIPPED)
    held = load_file(SHIPPED / WEIGHTS)
    state = model.state_dict()
    own = {name for name in held if not name.startswith(ADDITIONS)}
    assert {name for name in state if not name.startswith(PARTS["text"])} == own
    assert all(torch.equal(state[name], held[name]) for name in own)
    assert any(isinstance(one, Constant) for one in model.modules())
    for format_ in (torch.float32, torch.bfloat16):
        encoder = model.to(format_).encoders["image"] if format_ != model.dtype else model.encoders["image"]
        for constant, numbers in ((encoder.mean, model.config.image_mean), (encoder.std, model.config.image_std)):
            assert constant().dtype == torch.float32
            assert constant().flatten().tolist() == torch.tensor(numbers).tolist()


def test_the_sum_of_a_gpu_is_the_sum_of_a_cpu() -> None:
    """Sorted accumulation and `index_add` give the same; whole numbers are exact in any order."""
    owner = torch.tensor([0, 0, 0, 2, 3, 3])
    values = torch.arange(24.0).view(6, 2, 2)
    into = torch.zeros(4, 2, 2)
    assert torch.equal(summed(into, owner, values), into.index_put((owner,), values, accumulate=True))
    assert torch.equal(into, torch.zeros(4, 2, 2))


def test_one_copy_brings_all_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verdicts that were fetched as one row are those that were fetched one by one."""
    model = runtime()
    some = items(model)
    wanted = model.infer(some)
    fetched: list[int] = []

    def as_of_a_gpu(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        fetched.append(len(tensors))
        return unpacked(packed(tensors).cpu(), [one.shape for one in tensors])

    monkeypatch.setattr("worker.model.runtime.on_host", as_of_a_gpu)
    assert model.infer(some) == wanted
    assert fetched == [3 + 2 + 1 + 2 * len(model._config.inputs)]


def test_bodies_are_copied_into_the_memory_that_is_given() -> None:
    """All that goes to a card lies in memory of its allocator, in the layout and with the numbers of a CPU's."""
    given: list[torch.Tensor] = []

    def allocate(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        given.append(torch.empty(tuple(shape), dtype=dtype))
        return given[-1]

    model = runtime()
    some = items(model)
    plain, staged = collate(some, model._config), collate(some, model._config, allocate)
    for name in ("bodies", "item_of"):
        for one, other in zip(plain[name], staged[name], strict=True):
            assert torch.equal(one, other)
            assert one.stride() == other.stride()
            assert other.data_ptr() in {memory.data_ptr() for memory in given}


def test_workers_spread_over_the_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbouring processes of a host take one card after the other; equal process numbers differ by their hosts."""
    assert sorted(card_of(4, "host", pid) for pid in range(100, 104)) == [0, 1, 2, 3]
    assert {card_of(4, f"worker-{n}", 1) for n in range(40)} == {0, 1, 2, 3}
    assert card_of(1, "host", 7) == 0
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert device_of("auto") == torch.device("cuda", cuda.own_card(4))
    assert device_of("cuda:3") == torch.device("cuda:3")


@pytest.mark.parametrize(("capability", "format_"), [((7, 5), torch.float16), ((8, 0), torch.bfloat16),
                                                     ((9, 0), torch.bfloat16)])  # fmt: skip
def test_auto_takes_what_the_card_computes_in(
    capability: tuple[int, int], format_: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bf16 where it is not emulated, else fp16; a CPU takes neither."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert half_of(torch.device("cuda:0")) == format_
    assert number_format("auto", torch.device("cuda:0"), torch.bfloat16) == format_
    assert number_format("fp32", torch.device("cuda:0")) == torch.float32
    assert number_format("auto", torch.device("cpu")) == torch.float32


def test_weights_beyond_fp16_are_served_in_fp32() -> None:
    """A weight that fp16 would make infinite costs speed, not every anchor."""
    layer = torch.nn.Linear(2, 2)
    assert within(layer, torch.float16) == torch.float16
    with torch.no_grad():
        layer.weight[0, 0] = 1e5
    assert within(layer, torch.float16) == torch.float32
    assert within(layer, torch.bfloat16) == torch.bfloat16


def test_fp32_is_served_without_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Serving sets torch so that fp32 is not shortened and no kernel is chosen by a stopwatch."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    serve(SHIPPED, "cpu", "fp32")
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.benchmark
    assert torch.backends.cudnn.deterministic
