"""Where on the image a cell of a layer looks: measured by pixels set to NaN, not from a table.

The rectangle is found by halving: rows above a line are marked, and the cell tells whether it
depends on any of them. All edges of all cells go through the network together, so an image of 224
pixels costs 8 passes of four copies a cell, whatever the depth.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustlab.adversarial.images import load_pixels
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.hooks import Layer
from robustlab.invariance.layer_reach import Reach

__all__ = ["boxes_of"]

Cell = tuple[int, int, int]  # channel, row, column


def boxes_of(
    backbone: Backbone, data: Data, layers: Sequence[Layer], cells: Sequence[Cell]
) -> NDArray[np.int32]:
    """Boxes [layers, 4] on the first image of what one cell a layer depends on.

    Top, left, bottom, right, ends not included; -1 where no pixel reaches the cell. A cell that
    sees rows apart (dilation) gets the rectangle around all of them.
    """
    image = load_pixels(data, [0], backbone)[0].double()
    reach = Reach(backbone.network, layers)
    height, width = image.shape[2:]
    count = len(layers)
    # For each cell: how many rows (columns) from an end may be marked without reaching it.
    free = np.zeros((count, 4), int)
    ends = np.tile([height, width, height, width], (count, 1))
    while (free < ends).any():
        middle = (free + ends) // 2 + ((free + ends) % 2)
        marks = torch.stack(
            [_mark(s, int(middle[i, s]), height, width) for i in range(count) for s in range(4)]
        )
        hit = _hit(reach, image, marks.to(image.device), layers, cells)
        free, ends = np.where(hit, free, middle), np.where(hit, middle - 1, ends)
    boxes = np.stack([free[:, 0], free[:, 1], height - free[:, 2], width - free[:, 3]], axis=1)
    boxes[(boxes[:, 0] >= boxes[:, 2]) | (boxes[:, 1] >= boxes[:, 3])] = -1
    return boxes.astype(np.int32)


def _mark(side: int, many: int, height: int, width: int) -> Tensor:
    """The first rows, first columns, last rows, last columns."""
    marked = torch.zeros(height, width, dtype=torch.bool)
    if side == 0:
        marked[:many] = True
    elif side == 1:
        marked[:, :many] = True
    elif side == 2:
        marked[height - many :] = True
    else:
        marked[:, width - many :] = True
    return marked


def _hit(
    reach: Reach, image: Tensor, marks: Tensor, layers: Sequence[Layer], cells: Sequence[Cell]
) -> NDArray[np.bool_]:
    seen = reach(image.expand(len(marks), *image.shape[1:]), marks)
    answers = []
    for place, (layer, (channel, row, column)) in enumerate(zip(layers, cells, strict=True)):
        found = seen[layer.name][4 * place : 4 * place + 4, channel]
        answers.append((found[:, row, column] if found.ndim == 3 else found).cpu().numpy())
    return np.stack(answers)
