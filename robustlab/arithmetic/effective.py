"""Effective receptive field (Luo, Li, Urtasun and Zemel 2016): where in its field a unit looks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustlab.arithmetic.measured import dimensions
from robustlab.arithmetic.recorder import record, still
from robustlab.errors import BadRequest, choices
from robustlab.hooks import find_layers

__all__ = ["TAIL", "effective_field", "effective_width", "map_layers"]

# Two standard deviations of a bell hold all but this share: what Luo et al. count as seen.
TAIL = 0.0455


def map_layers(module: nn.Module, input_shape: Sequence[int]) -> list[tuple[str, tuple[int, ...]]]:
    """Names of modules that give maps larger than 1x1, with the shape (C, H, W), in order.

    Rows and columns are told from channels by following them; where that ends, by which dimensions
    grow with the image (`hooks.find_layers`). A module of which neither tells is left out.
    """
    return [(name, shape) for name, (shape, _) in _places(module, input_shape).items()]


def _places(
    module: nn.Module, input_shape: Sequence[int]
) -> dict[str, tuple[tuple[int, ...], bool]]:
    """Module's name -> (C, H, W) of its map, and whether its channels come last."""
    found: dict[str, tuple[tuple[int, ...], bool]] = {}
    grown = None
    for call in record(module, input_shape).calls:
        if len(call.made) != 4 or not call.path or call.number > 1 or call.seen is None:
            continue
        if call.seen.lost:
            grown = _grown(module, input_shape) if grown is None else grown
            dims = grown.get(call.path, (None, None))
        else:
            dims = dimensions(call.seen)
        if dims in ((2, 3), (1, 2)):
            rows, columns = (call.made[dim or 0] for dim in dims)
            if max(rows, columns) > 1:
                channels = call.made[1 if dims == (2, 3) else 3]
                found[call.path] = (channels, rows, columns), dims == (1, 2)
    return found


def _grown(module: nn.Module, shape: Sequence[int]) -> dict[str, tuple[int | None, int | None]]:
    """Module's name -> its dimensions of rows and columns, by running it on two sizes."""
    weight = next(iter(module.parameters()), torch.zeros(()))
    with still(module):
        layers, _ = find_layers(module, weight.new_zeros(2, *shape))
    prefix = "module." if type(module).__name__ == "Normalised" else ""
    return {
        prefix + one.name: (1, 2) if one.channels_last else (2, 3)
        for one in layers
        if one.kind == "map"
    }


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
    batches = [images] if isinstance(images, Tensor) else [*images]
    if not batches:
        raise BadRequest("no images to take gradients of; give at least one batch")
    maps = _places(module, batches[0].shape[1:])
    if layer not in maps:
        raise BadRequest(f"layer {layer!r} gives no map of rows and columns{choices(layer, maps)}")
    kept: list[Tensor] = []
    # A copy: what follows may go on in place, and the gradient would be of its result.
    handle = parts[layer].register_forward_hook(lambda one, args, out: kept.append(out.clone()))
    total: Tensor | None = None
    try:
        for batch in batches:
            kept.clear()
            x = batch.detach().clone().requires_grad_(True)
            with torch.enable_grad():
                module(x)
                total = _added(total, _gradient(kept[0], x, last=maps[layer][1]))
    finally:
        handle.remove()
    assert total is not None
    largest = float(total.max())
    return (total / largest if largest > 0 else total).cpu().numpy().astype(np.float64)


def _gradient(result: Tensor, x: Tensor, last: bool) -> Tensor:
    maps = result.permute(0, 3, 1, 2) if last else result
    place = maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2]
    (gradient,) = torch.autograd.grad(place.sum(), x, allow_unused=True)
    found = torch.zeros_like(x) if gradient is None else gradient
    return found.abs().double().sum((0, 1))


def _added(total: Tensor | None, more: Tensor) -> Tensor:
    return more if total is None else total + more


def effective_width(field: NDArray[np.float64]) -> float:
    """Side of the square of as many pixels as have more than `TAIL` of the largest value."""
    return math.sqrt(int((field > TAIL * field.max(initial=0.0)).sum()))
