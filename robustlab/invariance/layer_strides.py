"""The cumulative stride of each layer: by how many pixels an image moves for a map to move by one.

On a larger image a map has one cell more for every stride that the image grew. Where the network
takes one size only, the cell that a single row of pixels reaches last is followed down the image:
it moves on by one every stride.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from robustlab.hooks import GROWTH, Layer
from robustlab.invariance.layer_reach import Reach

__all__ = ["Stride", "measure_strides"]

Stride = tuple[int, int]  # (rows, columns); 0 where it is not known, as for vectors


def measure_strides(network: nn.Module, image: Tensor, layers: Sequence[Layer]) -> list[Stride]:
    """(rows, columns) of every layer.

    Args:
        image: one image [1, C, H, W] of the network's device and dtype.
    """
    found = [_by_growth(layer) for layer in layers]
    unknown = [x for x, s in zip(layers, found, strict=True) if x.kind == "map" and 0 in s]
    if unknown:
        followed = _by_following(network, image, unknown)
        both = [(s, followed.get(x.name, s)) for x, s in zip(layers, found, strict=True)]
        found = [(a[0] or b[0], a[1] or b[1]) for a, b in both]
    return _inherited(layers, found)


def _by_growth(layer: Layer) -> Stride:
    rows, columns = (GROWTH // d if d > 0 and GROWTH % d == 0 else 0 for d in layer.growth)
    return rows, columns


def _by_following(network: nn.Module, image: Tensor, layers: Sequence[Layer]) -> dict[str, Stride]:
    reach = Reach(network, layers)
    lasts = [_last_cells(reach, image, axis) for axis in (0, 1)]
    return {x.name: (_spacing(lasts[0][x.name]), _spacing(lasts[1][x.name])) for x in layers}


def _last_cells(reach: Reach, image: Tensor, axis: int, at_once: int = 16) -> dict[str, Tensor]:
    """The last row (or column) of cells that each row (or column) of pixels reaches: [H], [W]."""
    side, parts = image.shape[2 + axis], []
    for first in range(0, side, at_once):
        lines = torch.arange(first, min(first + at_once, side), device=image.device)
        pixels = torch.zeros(len(lines), *image.shape[2:], dtype=torch.bool, device=image.device)
        pixels.transpose(1, 1 + axis)[torch.arange(len(lines)), lines] = True
        reached = reach(image.expand(len(lines), -1, -1, -1), pixels)
        parts.append({name: _last(one, axis) for name, one in reached.items()})
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _last(reached: Tensor, axis: int) -> Tensor:
    line = reached.any(dim=1).any(dim=2 - axis)
    return torch.where(line, torch.arange(line.shape[1], device=line.device), -1).amax(dim=1)


def _spacing(last: Tensor) -> int:
    """Pixels between two steps of the last cell; 0 where it does not step evenly by one."""
    steps = last.cummax(dim=0).values.diff()  # a line between two windows reaches no cell
    at = steps.nonzero()[:, 0]
    apart = at.diff()
    even = len(apart) > 0 and bool((steps[at] == 1).all()) and bool((apart == apart[0]).all())
    return int(apart[0]) if even else 0


def _inherited(layers: Sequence[Layer], found: Sequence[Stride]) -> list[Stride]:
    """What is not known is taken from the map in front, if that has the same size."""
    told: list[Stride] = []
    before: tuple[tuple[int, ...], Stride] = (), (0, 0)
    for layer, stride in zip(layers, found, strict=True):
        if layer.kind == "map":
            if 0 in stride and layer.shape[1:] == before[0]:
                stride = before[1]
            before = layer.shape[1:], stride
        told.append(stride)
    return told
