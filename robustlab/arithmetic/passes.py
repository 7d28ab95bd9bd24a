"""What a backward pass costs beside a forward one, towards weights and towards inputs apart.

Training needs the gradient of the weights and, to get there, that of every layer's inputs: about
two forward passes. An attack needs that of the inputs alone: about one. Counted, in multiply-adds,
by torch's own counter on tensors without numbers; timed, in seconds, on the network's device.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from robustlab.arithmetic.recorder import still

__all__ = ["PASSES", "Passes", "counted_passes", "kept_bytes", "timed_passes"]

LEAST, MOST = 0.5, 200  # seconds and turns of timing
PASSES = ("forward", "inputs", "weights", "both")


@dataclass(frozen=True)
class Passes:
    """One image, or one batch: a forward pass, and backward passes towards what stands there.

    In multiply-adds where counted, in seconds where timed.
    """

    forward: float
    inputs: float
    weights: float
    both: float

    @property
    def attack(self) -> float:
        """Backward over forward of an attack."""
        return self.inputs / self.forward if self.forward else float("nan")

    @property
    def training(self) -> float:
        """Backward over forward of training, whose images need no gradient."""
        return self.weights / self.forward if self.forward else float("nan")


@contextmanager
def _needing(module: nn.Module, weights: bool) -> Iterator[None]:
    """Gradients of the weights wanted or not; afterwards as they were, gradients included."""
    before = [(one, one.requires_grad, one.grad) for one in module.parameters()]
    try:
        for one, _, _ in before:
            one.requires_grad_(weights and one.is_floating_point())
        yield
    finally:
        for one, needed, gradient in before:
            one.requires_grad_(needed)
            one.grad = gradient


def _towards(module: nn.Module, x: Tensor, kind: str) -> list[Tensor]:
    wanted = [x] if kind != "weights" else []
    return wanted + ([*module.parameters()] if kind != "inputs" else [])


def _backward_convolution(
    gradient: Sequence[int],
    x: Sequence[int],
    weight: Sequence[int],
    *rest: Any,
    out_shape: Any = None,
    **options: Any,
) -> int:
    """FLOPs of a convolution's gradients: the forward pass once for each of input and weights.

    Each product of the forward pass gives one product of either gradient. torch's own formula
    multiplies the weights' by the number of groups: for a depthwise convolution by its channels.
    """
    transposed, wanted = bool(rest[4]), rest[7]
    return sum(map(bool, wanted[:2])) * conv_flop_count([*x], [*weight], [*gradient], transposed)


_FORMULAS = {torch.ops.aten.convolution_backward: _backward_convolution}


def counted_passes(module: nn.Module, input_shape: Sequence[int]) -> Passes:
    """Multiply-adds of one image of (C, H, W): convolutions and matrix products.

    Nothing is computed where the network can run without numbers. ``weights`` includes the inputs'
    gradients of all layers but the first, as the weights below cannot be reached otherwise.
    """
    found = {}
    for kind in PASSES:
        counter = FlopCounterMode(display=False, custom_mapping=_FORMULAS)
        with _graph(module, input_shape, kind) as (out, _), counter:
            logits = out()
            if kind != "forward":
                torch.autograd.backward(logits.sum())
        found[kind] = counter.get_total_flops() // 2
    for kind in PASSES[1:]:
        found[kind] -= found["forward"]
    return Passes(**{kind: float(value) for kind, value in found.items()})


@contextmanager
def _graph(
    module: nn.Module, input_shape: Sequence[int], kind: str
) -> Iterator[tuple[Callable[[], Tensor], list[Tensor]]]:
    """What runs the network without numbers, gradients kept for ``kind``; and its weights."""
    named = dict(itertools.chain(module.named_parameters(), module.named_buffers()))
    floating = next((one for one in named.values() if one.is_floating_point()), None)
    dtype = torch.float32 if floating is None else floating.dtype
    meta = {name: one.detach().to("meta") for name, one in named.items()}
    trained = [meta[name] for name, one in module.named_parameters() if one.is_floating_point()]
    x = torch.zeros((1, *input_shape), dtype=dtype, device="meta")
    x.requires_grad_(kind in ("inputs", "both"))
    for one in trained:
        one.requires_grad_(kind in ("weights", "both"))
    with still(module), torch.enable_grad():
        yield (lambda: torch.func.functional_call(module, meta, (x,))), list(meta.values())


def kept_bytes(module: nn.Module, input_shape: Sequence[int], kind: str) -> int:
    """Bytes that autograd keeps of one image until the backward pass of ``kind``, weights apart.

    Each piece of memory counts once, however often it is kept.
    """
    kept: dict[int, int] = {}
    held: list[Tensor] = []  # so that no address is used twice

    def keep(one: Tensor) -> Tensor:
        storage = one.untyped_storage()
        held.append(one)
        kept[storage._cdata] = storage.nbytes()
        return one

    with _graph(module, input_shape, kind) as (out, weights):
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda one: one):
            held.append(out())
        own = {one.untyped_storage()._cdata for one in weights}
    return sum(size for address, size in kept.items() if address not in own)


def timed_passes(module: nn.Module, x: Tensor, repeats: int = 5) -> Passes:
    """Median seconds of a batch [n, C, H, W], after one pass to warm up.

    Over ``repeats`` at least, and as many as `LEAST` seconds hold: small networks take less time
    than what else a machine does.
    """

    def clock(run: Callable[[], Tensor]) -> tuple[float, Tensor]:
        _wait(x)
        started = time.perf_counter()
        made = run()
        _wait(x)
        return time.perf_counter() - started, made

    seconds: dict[str, list[float]] = {kind: [] for kind in PASSES}
    with still(module), torch.enable_grad():
        started = time.perf_counter()
        for turn in range(max(MOST, repeats + 1)):
            if turn > repeats and time.perf_counter() - started > LEAST:
                break
            for kind in PASSES[1:]:
                with _needing(module, weights=kind != "inputs"):
                    images = x.detach().clone().requires_grad_(kind != "weights")
                    ahead, total = clock(partial(_summed, module, images))
                    wanted = _towards(module, images, kind)
                    back, _ = clock(partial(_pulled, total, wanted))
                if turn:
                    seconds[kind].append(back)
                    seconds["forward"].append(ahead)
    return Passes(**{kind: statistics.median(values) for kind, values in seconds.items()})


def _summed(module: nn.Module, images: Tensor) -> Tensor:
    logits: Tensor = module(images)
    return logits.sum()


def _pulled(total: Tensor, wanted: Sequence[Tensor]) -> Tensor:
    torch.autograd.grad(total, wanted, allow_unused=True)
    return total


def _wait(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
