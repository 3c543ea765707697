"""What a GPU asks for: which card, which number format, staged copies, and the same bits run after run."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from zlib import crc32

import torch
from torch import Tensor

# From this compute capability on a card multiplies bf16 itself; below it torch emulates it.
_BF16_FROM = (8, 0)
Allocate = Callable[[Sequence[int], torch.dtype], Tensor]


def card_of(cards: int, host: str, pid: int) -> int:
    """The card of a worker: by its process and its host's name, so that workers spread over the cards.

    Processes that start one after the other on a host take one card after the other; in containers, where process
    numbers are alike, the hosts' names differ.
    """
    return (crc32(host.encode()) + pid) % cards


def own_card(cards: int) -> int:
    """`card_of` for this process."""
    return card_of(cards, socket.gethostname(), os.getpid())


def half_of(device: torch.device) -> torch.dtype:
    """The 16-bit format that this card computes in."""
    return torch.bfloat16 if torch.cuda.get_device_capability(device) >= _BF16_FROM else torch.float16


def pinned(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Memory that a GPU reads by itself, while this thread goes on."""
    return torch.empty(tuple(shape), dtype=dtype, pin_memory=True)


def enter(device: torch.device) -> None:
    """For the calling thread: pinned memory and kernels are this card's, and no other card is woken for them."""
    if device.type == "cuda":
        torch.cuda.set_device(device)


def exact() -> None:
    """For the process: fp32 is fp32 (no TF32), sums of 16 bits are kept in 32, and kernels are chosen by no stopwatch.

    A convolution's kernel that was chosen by timing may differ from run to run, and its last digits with it.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def on_host(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors in memory, fp32; those of a GPU in one copy, which is waited for once."""
    if all(one.device.type == "cpu" for one in tensors):
        return [one.float() for one in tensors]
    return unpacked(packed(tensors).cpu(), [one.shape for one in tensors])


def packed(tensors: Sequence[Tensor]) -> Tensor:
    """One row of fp32 numbers, all tensors behind each other; whole numbers are kept up to 2^24."""
    return torch.cat([one.reshape(-1).float() for one in tensors])


def unpacked(row: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    """What was packed."""
    cut = torch.split(row, [shape.numel() for shape in shapes])
    return [one.view(shape) for one, shape in zip(cut, shapes, strict=True)]


def summed(into: Tensor, owner: Tensor, values: Tensor) -> Tensor:
    """`into` [B, ...] plus the `values` [M, ...] of each owner [M], the same bits each time.

    On a GPU `index_add` adds by atomics, in the order in which its threads happen to come. `index_put` with
    accumulation sorts by owner first and then adds one value after the other.
    """
    if into.device.type == "cuda":
        return into.index_put((owner,), values, accumulate=True)
    return into.index_add(0, owner, values)
