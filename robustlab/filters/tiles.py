"""Pictures laid out as one grid: uint8 pixels, one file a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BACK", "framed", "grid", "heat", "signed", "visible"]

Pixels = NDArray[np.uint8]

BACK = 255  # what lies between pictures


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


def framed(pixels: Pixels, size: tuple[int, int], corner: tuple[int, int]) -> Pixels:
    """A picture on an even grey ground of ``size``, its upper left corner at ``corner``."""
    ground = np.full((*size, 3), 128, np.uint8)
    (y, x), (h, w) = corner, pixels.shape[:2]
    ground[y : y + h, x : x + w] = pixels
    return ground


def grid(pictures: Sequence[Pixels], columns: int, gap: int = 1) -> Pixels:
    """Equal pictures [H, W, 3] row by row, ``gap`` pixels apart; the last row may be short."""
    height, width, _ = pictures[0].shape
    rows = -(-len(pictures) // columns)
    wide, high = columns * (width + gap) - gap, rows * (height + gap) - gap
    ground = np.full((high, wide, 3), BACK, np.uint8)
    for place, picture in enumerate(pictures):
        y, x = place // columns * (height + gap), place % columns * (width + gap)
        ground[y : y + height, x : x + width] = picture
    return ground
