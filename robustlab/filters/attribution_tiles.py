"""How attributions and occlusion maps are drawn: tiles of uint8 pixels for one grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from robustlab.filters.explained import Occluded
from robustlab.filters.tiles import grid, heat, reduced, signed, visible

__all__ = ["MOST", "attribution_row", "occlusion_picture"]

MOST = 56  # pixels of the longest side of a picture in the grid
COLOURS = 10  # classes that the map of the most probable class tells apart


def attribution_row(
    image: NDArray[np.uint8], found: Mapping[str, NDArray[np.float64]], methods: Sequence[str]
) -> list[NDArray[np.uint8]]:
    """The image and what was found, side by side; even grey where there is nothing."""
    first = visible(reduced(image, MOST))
    blank = np.full(first.shape, 128, np.uint8)
    rest = [signed(reduced(found[m], MOST)) if m in found else blank for m in methods]
    return [first if found else blank, *rest]


def occlusion_picture(
    maps: Sequence[tuple[NDArray[np.uint8], Occluded]],
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """A row an image: the image, the label's probability, the most probable class; the classes."""
    from matplotlib import colormaps

    winners = np.concatenate([m.winner.ravel() for _, m in maps])
    classes, counts = np.unique(winners, return_counts=True)
    order = classes[np.argsort(-counts, kind="stable")][:COLOURS]
    palette = (255 * np.asarray(colormaps["tab10"].colors)).round().astype(np.uint8)  # type: ignore[attr-defined]
    tiles = []
    for image, one in maps:
        shown = visible(reduced(image, MOST))
        size = shown.shape[:2]
        colours = np.full((*one.winner.shape, 3), 128, np.uint8)
        for place, label in enumerate(order):
            colours[one.winner == label] = palette[place]
        tiles += [shown, _spread(heat(one.probability, 0, 1), size), _spread(colours, size)]
    return grid(tiles, 3, gap=2), order


def _spread(cells: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """[rows, columns, 3] as blocks that fill ``size``."""
    rows, columns = (
        np.arange(n) * have // n for n, have in zip(size, cells.shape[:2], strict=True)
    )
    return np.asarray(cells[rows][:, columns])
