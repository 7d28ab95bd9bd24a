"""Effective receptive field (Luo, Li, Urtasun and Zemel 2016): where in its field a unit looks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustlab.errors import BadRequest, choices

__all__ = ["TAIL", "effective_field", "effective_width", "map_layers"]

# Two standard deviations of a bell hold all but this share: what Luo et al. count as seen.
TAIL = 0.0455
Batches = Callable[[], Any]


def map_layers(module: nn.Module, input_shape: Sequence[int]) -> list[tuple[str, tuple[int, ...]]]:
    """Names of modules that give maps larger than 1x1, with the shape (C, H, W), in order."""
    from robustlab.arithmetic.recorder import record

    return [
        (call.path, call.made[1:])
        for call in record(module, input_shape).calls
        if len(call.made) == 4 and max(call.made[2:]) > 1 and call.path and call.number == 1
    ]


def effective_field(
    module: nn.Module, layer: str, images: Sequence[Tensor] | Tensor
) -> NDArray[np.float64]:
    """Mean size of the gradient of a layer's middle place with respect to each pixel, [H, W].

    The gradient is of the sum over channels of that place, as in Luo et al. (section 3); of each
    pixel the absolute values are summed over the image's channels and averaged over the images.
    Divided by its largest value; all zero where no gradient arrives.

    Args:
        module: from images [n, C, H, W]; left as it was.
        layer: the name of a module of it that gives a map.
        images: one batch [n, C, H, W], or several.

    Raises:
        BadRequest: no such layer, or none that gives a map.
    """
    parts = dict(module.named_modules())
    if layer not in parts:
        raise BadRequest(f"unknown layer {layer!r}{choices(layer, [p for p in parts if p])}")
    kept: list[Tensor] = []
    handle = parts[layer].register_forward_hook(lambda one, args, out: kept.append(out))
    total: Tensor | None = None
    try:
        for batch in [images] if isinstance(images, Tensor) else images:
            kept.clear()
            x = batch.detach().clone().requires_grad_(True)
            with torch.enable_grad():
                module(x)
                total = _added(total, _gradient(kept, x, layer))
    finally:
        handle.remove()
    if total is None:
        raise BadRequest("no images to take gradients of; give at least one batch")
    largest = float(total.max())
    return (total / largest if largest > 0 else total).cpu().numpy().astype(np.float64)


def _gradient(kept: list[Tensor], x: Tensor, layer: str) -> Tensor:
    if not kept or not isinstance(kept[0], Tensor) or kept[0].ndim != 4:
        raise BadRequest(f"layer {layer!r} gives no map of rows and columns; take a convolution")
    place = kept[0][:, :, kept[0].shape[2] // 2, kept[0].shape[3] // 2]
    (gradient,) = torch.autograd.grad(place.sum(), x, allow_unused=True)
    found = torch.zeros_like(x) if gradient is None else gradient
    return found.abs().double().sum((0, 1))


def _added(total: Tensor | None, more: Tensor) -> Tensor:
    return more if total is None else total + more


def effective_width(field: NDArray[np.float64]) -> float:
    """Side of the square of as many pixels as have more than `TAIL` of the largest value."""
    return math.sqrt(int((field > TAIL * field.max(initial=0.0)).sum()))
