"""Grids of small pictures as one picture: uint8, whole multiples, nothing smoothed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["boxed", "centred", "colours", "enlarged", "fitting", "grid", "squared"]

Pixels = NDArray[np.uint8]

PAPER = 255
BOX = (213, 94, 0)  # the vermilion of Okabe and Ito, safe for colour-blind readers


def centred(values: NDArray[Any], end: float) -> Pixels:
    """[h, w] or [3, h, w] about zero as levels: 0 is mid grey, -end black, end white."""
    share = np.asarray(values, np.float64) / (end or 1.0)
    levels = np.asarray(np.clip(np.rint(127.5 + 127.5 * share), 0, 255), np.uint8)
    return levels.transpose(1, 2, 0) if levels.ndim == 3 else levels


def colours(values: NDArray[Any], low: float, high: float) -> Pixels:
    """[h, w] as cividis, dark at ``low``, bright at ``high``: uint8 [h, w, 3]."""
    from matplotlib import colormaps

    share = (np.asarray(values, np.float64) - low) / ((high - low) or 1.0)
    drawn = np.asarray(colormaps["cividis"](np.clip(share, 0, 1)))[..., :3]
    return np.asarray(np.rint(255 * drawn), np.uint8)


def enlarged(tile: Pixels, scale: int) -> Pixels:
    """Each pixel as ``scale`` x ``scale``."""
    return tile.repeat(scale, axis=0).repeat(scale, axis=1)


def fitting(tile: Pixels, room: int) -> Pixels:
    """Enlarged by the whole multiple that fills ``room``; a larger one is thinned to every k-th
    pixel.
    """
    side = max(tile.shape[:2])
    if side > room:
        step = math.ceil(side / room)
        return tile[::step, ::step]
    return enlarged(tile, room // side)


def boxed(tile: Pixels, box: Sequence[int], room: int) -> Pixels:
    """The tile as `fitting` shows it, in colour, with a frame about rows and columns ``box`` =
    (top, left, bottom, right), ends not included.
    """
    drawn = _in_colour(fitting(tile, room)).copy()
    scale = drawn.shape[0] / tile.shape[0]
    top, left, bottom, right = (round(v * scale) for v in box)
    bottom, right = min(bottom, drawn.shape[0]) - 1, min(right, drawn.shape[1]) - 1
    drawn[[top, bottom], left : right + 1] = BOX
    drawn[top : bottom + 1, [left, right]] = BOX
    return drawn


def _in_colour(tile: Pixels) -> Pixels:
    return tile if tile.ndim == 3 else np.repeat(tile[..., None], 3, axis=2)


def squared(tiles: Sequence[Pixels], gap: int = 2, wide: float = 1.0) -> Pixels:
    """Tiles of one size as a grid about ``wide`` times as wide as high."""
    columns = max(1, math.ceil(math.sqrt(len(tiles) * wide)))
    return grid([tiles[i : i + columns] for i in range(0, len(tiles), columns)], gap)


def grid(rows: Sequence[Sequence[Pixels | None]], gap: int = 2) -> Pixels:
    """Rows of tiles as one picture; a column is as wide as its widest tile, None leaves room.

    Grey if all tiles are, else in colour.
    """
    held = [tile for row in rows for tile in row if tile is not None]
    if not held:
        return np.full((1, 1), PAPER, np.uint8)
    in_colour = any(tile.ndim == 3 for tile in held)
    count = max(len(row) for row in rows)
    heights = [max((t.shape[0] for t in row if t is not None), default=0) for row in rows]
    widths = [
        max((r[i].shape[1] for r in rows if i < len(r) and r[i] is not None), default=0)  # type: ignore[union-attr]
        for i in range(count)
    ]
    height, width = sum(heights) + gap * (len(rows) + 1), sum(widths) + gap * (count + 1)
    page = np.full((height, width, *((3,) if in_colour else ())), PAPER, np.uint8)
    top = gap
    for row, tall in zip(rows, heights, strict=True):
        left = gap
        for tile, broad in zip(row, widths, strict=False):
            if tile is not None:
                shown = _in_colour(tile) if in_colour else tile
                page[top : top + shown.shape[0], left : left + shown.shape[1]] = shown
            left += broad + gap
        top += tall + gap
    return page
