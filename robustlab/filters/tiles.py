"""Pictures laid out as one grid: uint8 pixels, one file a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BACK", "framed", "grid", "heat", "reduced", "signed", "visible"]

Pixels = NDArray[np.uint8]

BACK = (205, 214, 228)  # between pictures: a colour that no grey picture has


def visible(image: NDArray[Any]) -> Pixels:
    """uint8 [C, H, W] as [H, W, 3]; of other than three channels the first is shown, grey."""
    image = np.asarray(image, np.uint8)
    shown = image if image.shape[0] == 3 else np.repeat(image[:1], 3, axis=0)
    return np.ascontiguousarray(shown.transpose(1, 2, 0))


def signed(values: NDArray[Any]) -> Pixels:
    """[C, H, W] of both signs as [H, W, 3]: 128 is zero, the largest magnitude an end of the scale.

    Each picture has its own scale. What is nowhere but zero is even grey.
    """
    values = np.asarray(values, np.float64)
    end = np.abs(values).max(initial=0.0)
    return visible(np.round(128 + 127 * values / (end or 1.0)).astype(np.uint8))


def heat(values: NDArray[Any], low: float, high: float) -> Pixels:
    """[H, W] on the scale cividis, dark at ``low`` and bright at ``high``, as [H, W, 3]."""
    from matplotlib import colormaps

    share = np.clip((np.asarray(values, np.float64) - low) / ((high - low) or 1.0), 0, 1)
    return np.asarray((255 * np.asarray(colormaps["cividis"](share))[..., :3]).round(), np.uint8)


def framed(
    image: NDArray[Any], size: tuple[int, int], corner: tuple[int, int], fill: float
) -> NDArray[Any]:
    """[C, h, w] on an even ground [C, *size], its upper left corner at ``corner``."""
    image = np.asarray(image)
    ground = np.full((len(image), *size), fill, image.dtype)
    (y, x), (h, w) = corner, image.shape[1:]
    ground[:, y : y + h, x : x + w] = image
    return ground


def reduced(image: NDArray[Any], most: int) -> NDArray[Any]:
    """[C, H, W] by means over square blocks, so that no side is longer than ``most``; uint8 stays.

    The last blocks of a row or a column may be smaller.
    """
    image = np.asarray(image)
    factor = -(-max(image.shape[1:]) // most)
    if factor <= 1:
        return image
    sums = np.asarray(image, np.float64)
    for axis in (1, 2):
        firsts = np.arange(0, image.shape[axis], factor)
        sums = np.add.reduceat(sums, firsts, axis=axis)
        counts = np.diff([*firsts, image.shape[axis]])
        sums = sums / counts.reshape([-1 if a == axis else 1 for a in range(3)])
    return sums.round().astype(np.uint8) if image.dtype == np.uint8 else sums


def grid(pictures: Sequence[Pixels], columns: int, gap: int = 1) -> Pixels:
    """Equal pictures [H, W, 3] row by row, ``gap`` pixels apart; the last row may be short."""
    height, width, _ = pictures[0].shape
    rows = -(-len(pictures) // columns)
    wide, high = columns * (width + gap) - gap, rows * (height + gap) - gap
    ground = np.tile(np.array(BACK, np.uint8), (high, wide, 1))
    for place, picture in enumerate(pictures):
        y, x = place // columns * (height + gap), place % columns * (width + gap)
        ground[y : y + height, x : x + width] = picture
    return ground
