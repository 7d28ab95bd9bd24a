"""Where on the image a cell of a layer looks: measured by pixels set to NaN.

Where the arithmetic of receptive fields knows it, five copies of the image prove it: with all
pixels outside marked the cell is as it was, and each outermost row and column reaches it (or is
left out by windows that do not fit, and the next one does). Where it does not, the whole image is
tried. Failing that the rectangle is found by halving: rows above a line are marked, and the cell
tells whether it depends on any of them, 8 passes of four copies on 224 pixels. Either way the
rectangle is the same; and no pass goes further than the layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustlab.adversarial.images import load_pixels
from robustlab.arithmetic.measured import dimensions
from robustlab.arithmetic.recorder import Call, record
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.hooks import Layer
from robustlab.invariance.layer_reach import Reach

__all__ = ["boxes_of", "known_maps"]

Cell = tuple[int, int, int]  # channel, row, column
Box = tuple[int, int, int, int]  # top, left, bottom, right, ends not included
Hit = Callable[[Tensor], NDArray[np.bool_]]


def boxes_of(
    backbone: Backbone, data: Data, layers: Sequence[Layer], cells: Sequence[Cell]
) -> NDArray[np.int32]:
    """Boxes [layers, 4] on the first image of what one cell a layer depends on.

    Top, left, bottom, right, ends not included; -1 where no pixel reaches the cell. A cell that
    sees rows apart (dilation) gets the rectangle around all of them.
    """
    image = load_pixels(data, [0], backbone)[0].double()
    reach = Reach(backbone.network, layers)
    guesses = _guesses(backbone.network, image.shape[1:], layers, cells)
    boxes = []
    for layer, cell, guess in zip(layers, cells, guesses, strict=True):
        hit = partial(_hit, reach, image, layer, cell)
        size = image.shape[2:]
        found = _whole(hit, size) if guess is None else _proven(guess, hit, size)
        boxes.append(found or _halved(hit, size))
    return np.array(boxes, np.int32).reshape(-1, 4)


def known_maps(
    network: nn.Module, shape: Sequence[int], layers: Sequence[Layer]
) -> tuple[list[Layer], list[str]]:
    """Layers that are vectors, or maps whose rows and columns are known to be those of the image;
    and the names of the others: four dimensions alone may be heads, tokens and values.

    A map is known by growing with the image, or else by the arithmetic, which follows its rows.
    """
    sure = [one for one in layers if one.kind == "vector" or min(one.growth) > 0]
    if len(sure) < len(layers):
        calls = _calls(network, shape)
        for one in layers:
            call = None if one in sure else calls(one.name)
            seen = None if call is None or call.seen is None or call.seen.lost else call.seen
            if seen and dimensions(seen) == ((1, 2) if one.channels_last else (2, 3)):
                sure.append(one)
    return [one for one in layers if one in sure], [o.name for o in layers if o not in sure]


def _calls(network: nn.Module, shape: Sequence[int]) -> Callable[[str], Call | None]:
    """Finds the call that made a layer, by the layer's name; the second use is called relu#2."""
    prefix = "module." if type(network).__name__ == "Normalised" else ""
    try:
        made = record(network, shape).calls
        calls = {(call.path.removeprefix(prefix), call.number): call for call in made}
    except Exception:  # whatever a network raises: then nothing is known beforehand
        calls = {}

    def find(name: str) -> Call | None:
        path, _, number = name.partition("#")
        return calls.get((path, int(number or 1)))

    return find


def _guesses(
    network: nn.Module, shape: Sequence[int], layers: Sequence[Layer], cells: Sequence[Cell]
) -> list[Box | None]:
    """What the arithmetic says, cut at the image's border; None where it says nothing."""
    calls = _calls(network, shape)
    found: list[Box | None] = []
    for layer, (_, *place) in zip(layers, cells, strict=True):
        call = calls(layer.name)
        seen = None if call is None or call.seen is None or call.seen.lost else call.seen
        spans = [f.at(at) for f, at in zip(seen.fields, place, strict=True)] if seen else [None]
        held = [
            (max(0, span[0]), min(size, span[1] + 1))
            for span, size in zip(spans, shape[1:], strict=False)
            if span is not None
        ]
        box = (held[0][0], held[1][0], held[0][1], held[1][1]) if len(held) == 2 else None
        found.append(box if box and box[0] < box[2] and box[1] < box[3] else None)
    return found


def _proven(box: Box, hit: Hit, size: Sequence[int]) -> Box | None:
    """The box, smaller by lines at its rim that windows leave out; None where pixels outside of it
    reach the cell, or none inside.
    """
    height, width = size
    top, left, bottom, right = box
    outside = torch.ones(1, height, width, dtype=torch.bool)
    outside[0, top:bottom, left:right] = False
    rim = [_mark(s, _from(s, box, size) + 1, height, width) for s in range(4)]
    reached, *edges = hit(torch.cat([outside, torch.stack(rim)])).tolist()
    if reached:
        return None
    left_out = [0 if edge else _left_out(s, box, hit, size) for s, edge in enumerate(edges)]
    if None in left_out:
        return None
    a, b, c, d = (n or 0 for n in left_out)
    return (top + a, left + b, bottom - c, right - d)


def _from(side: int, box: Box, size: Sequence[int]) -> int:
    """Rows (columns) between the image's border and the box."""
    return box[side] if side < 2 else size[side - 2] - box[side]


def _left_out(side: int, box: Box, hit: Hit, size: Sequence[int]) -> int | None:
    """How many of the box's own rows (columns) from a side do not reach the cell: few, so
    looked for from the side, in steps that double.
    """
    height, width = size
    start, most = _from(side, box, size), box[2 + side % 2] - box[side % 2]
    free, many = 1, 2
    while many <= most and not hit(_mark(side, start + many, height, width)[None])[0]:
        free, many = many, 2 * many
    if many > most:
        return None
    while many - free > 1:
        middle = (free + many) // 2
        reached = hit(_mark(side, start + middle, height, width)[None])[0]
        free, many = (free, middle) if reached else (middle, many)
    return free


def _whole(hit: Hit, size: Sequence[int]) -> Box | None:
    """The whole image, if its border reaches the cell from all sides, as it does in deep layers."""
    height, width = size
    reached = hit(torch.stack([_mark(s, 1, height, width) for s in range(4)]))
    return (0, 0, height, width) if reached.all() else None


def _halved(hit: Hit, size: Sequence[int]) -> Box:
    """How many rows (columns) from an end may be marked without reaching the cell."""
    height, width = size
    free, ends = np.zeros(4, int), np.array([height, width, height, width])
    while (free < ends).any():
        middle = (free + ends) // 2 + ((free + ends) % 2)
        reached = hit(torch.stack([_mark(s, int(middle[s]), height, width) for s in range(4)]))
        free, ends = np.where(reached, free, middle), np.where(reached, middle - 1, ends)
    top, left, bottom, right = (int(n) for n in free)
    box = (top, left, height - bottom, width - right)
    return box if box[0] < box[2] and box[1] < box[3] else (-1, -1, -1, -1)


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


def _hit(reach: Reach, image: Tensor, layer: Layer, cell: Cell, marks: Tensor) -> NDArray[np.bool_]:
    """Of each copy whether the cell depends on a marked pixel, [n]."""
    images = image.expand(len(marks), *image.shape[1:])
    seen = reach(images, marks.to(image.device), until=layer.name)[layer.name]
    channel, row, column = cell
    found = seen[:, channel]
    return np.asarray((found[:, row, column] if found.ndim == 3 else found).cpu().numpy(), bool)
