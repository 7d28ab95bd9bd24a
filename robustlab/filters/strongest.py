"""The images of a data set that drive each unit of a layer most, found in one pass over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustlab.adversarial.images import load_pixels
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.hooks import Layer, observe
from robustlab.invariance.layer_reach import Reach

__all__ = ["Strongest", "fields", "strongest"]

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Strongest:
    """The strongest places of every channel of one layer, at most one an image.

    Attributes:
        layer: whose.
        values: [C, k], falling; -inf where the data has fewer images.
        rows: int [C, k], of the data; -1 where there is none.
        places: int [C, k, 2], row and column on the map; 0 in a vector.
    """

    layer: Layer
    values: NDArray[np.float64]
    rows: Ints
    places: Ints


def strongest(
    backbone: Backbone, data: Data, layers: Sequence[Layer], k: int = 9, batch: int = 64
) -> dict[str, Strongest]:
    """The ``k`` images that drive each channel most, and where on them, for several layers at once.

    Streams: one forward pass over the data, one batch and the lists in memory. Of equal values the
    earlier image is kept, of equal places the upper left one.
    """
    lists = {layer.name: _List(layer, k) for layer in layers}
    for first in range(0, len(data), batch):
        rows = range(first, min(first + batch, len(data)))
        x = load_pixels(data, rows, backbone)[0].to(backbone.dtype)

        def see(name: str, module: nn.Module, output: Tensor, first: int = first) -> None:
            if name in lists:
                lists[name].add(output, first)

        observe(backbone.network, x, see)
    return {name: one.found() for name, one in lists.items()}


class _List:
    """The strongest so far."""

    def __init__(self, layer: Layer, k: int) -> None:
        self.layer, self.k = layer, k
        channels = layer.shape[0]
        self.values = torch.full((0, channels), -torch.inf)
        self.rows = torch.zeros((0, channels), dtype=torch.int64)
        self.cells = torch.zeros((0, channels), dtype=torch.int64)

    def add(self, output: Tensor, first: int) -> None:
        maps = self.layer.standard(output).flatten(2) if output.ndim == 4 else output[:, :, None]
        if self.layer.kind == "vector":
            maps = maps.reshape(len(output), self.layer.shape[0], 1)
        values = maps.amax(dim=2)
        if values.isnan().any():
            maps = maps.nan_to_num(nan=-torch.inf)
            values = maps.amax(dim=2)
        values = values.cpu()
        held = len(self.values)
        if held == self.k:  # most images enter no list
            fit = (values > self.values[-1]).any(dim=1).nonzero()[:, 0]
            if not len(fit):
                return
        else:
            fit = torch.arange(len(values))
        known = torch.cat([self.values.to(values.dtype), values[fit]])
        order = known.sort(dim=0, descending=True, stable=True).indices[: self.k]
        self.values = known.gather(0, order)
        rows = (first + fit)[:, None].expand(len(fit), values.shape[1])
        self.rows = torch.cat([self.rows, rows]).gather(0, order)
        # Where on the map is asked of newcomers alone.
        cells = torch.cat([self.cells, torch.zeros(rows.shape, dtype=torch.int64)])
        place, channel = (order >= held).nonzero(as_tuple=True)
        if len(place):
            new = fit[order[place, channel] - held]
            there = maps[new.to(maps.device), channel.to(maps.device)]
            cells[order[place, channel], channel] = there.argmax(dim=1).cpu()
        self.cells = cells.gather(0, order)

    def found(self) -> Strongest:
        width = self.layer.shape[2] if self.layer.kind == "map" else 1
        short = self.k - len(self.values)
        values = np.pad(
            self.values.double().numpy().T, ((0, 0), (0, short)), constant_values=-np.inf
        )
        rows = np.pad(self.rows.numpy().T, ((0, 0), (0, short)), constant_values=-1)
        cells = np.pad(self.cells.numpy().T, ((0, 0), (0, short)))
        return Strongest(self.layer, values, rows, np.stack([cells // width, cells % width], -1))


def fields(
    network: nn.Module, layers: Sequence[Layer], shape: Sequence[int], batch: int = 16
) -> tuple[dict[str, Ints], int]:
    """The receptive field of every cell of some layers, exact, cut at the border of the image.

    Followed by `Reach`, row by row and column by column, so that branches, padding and dilation
    count as they are. What a cell sees is taken as the smallest box that holds it.

    Args:
        shape: (C, H, W) of an image.

    Returns:
        Layer -> int [h, w, 4]: the first row, behind the last row, the first column, behind the
        last column; all 0 of a cell that sees no pixel. A vector has one cell. And how many images
        it took: H + W.
    """
    reach = Reach(network, layers)
    parameters = next(iter(network.parameters()), torch.zeros(()))
    _, height, width = shape
    boxes = {}
    for layer in layers:
        h, w = layer.shape[1:] if layer.kind == "map" else (1, 1)
        boxes[layer.name] = np.tile(np.array([height, 0, width, 0]), (h, w, 1))
    for axis, size in enumerate((height, width)):
        for first in range(0, size, batch):
            lines = range(first, min(first + batch, size))
            pixels = torch.zeros(len(lines), height, width, dtype=torch.bool)
            for place, line in enumerate(lines):
                pixels.select(axis + 1, line)[place] = True
            images = torch.full((len(lines), *shape), 0.5, device=parameters.device)
            found = reach(images, pixels.to(parameters.device))
            for name, depends in found.items():
                cells = depends.any(1) if depends.ndim == 4 else depends.any(1)[:, None, None]
                _widen(boxes[name][..., 2 * axis : 2 * axis + 2], cells.cpu().numpy(), lines)
    for box in boxes.values():
        box[(box[..., 1] <= box[..., 0]) | (box[..., 3] <= box[..., 2])] = 0
    return boxes, reach.passes


def _widen(ends: Ints, seen: NDArray[np.bool_], lines: Sequence[int]) -> None:
    for line, cells in zip(lines, seen, strict=True):
        ends[cells, 0] = np.minimum(ends[cells, 0], line)
        ends[cells, 1] = np.maximum(ends[cells, 1], line + 1)
