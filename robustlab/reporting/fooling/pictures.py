"""The pictures: original, perturbation, result. PNG, pixel by pixel those that were verified.

A large picture would make the page too heavy. It is shown reduced, and said to be; beside it stands
the part with the largest changes, pixel by pixel as in the file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from robustlab.fooled import Fooled, Pixels
from robustlab.reporting.pixels import as_picture, data_uri, magnified, scale_for

__all__ = ["Shown", "reduced", "shown", "smallest"]

ROOM, NARROW_ROOM = 300, 300  # page pixels of one picture
MOST = 1_000_000  # values of a picture that is shown as it is
HEAVY = 2_400_000  # letters that three pictures may take in the page
FEW = 400_000  # values of a picture that is shown reduced
PART = 192  # pixels of the part that is shown beside it
_ENDS = 127  # grey levels at the ends of the scale
LIGHT = 300_000  # values of the smallest perturbation's picture, which is shown besides


@dataclass(frozen=True)
class Shown:
    """Three pictures of one size, as addresses of data.

    Attributes:
        original, moved, changed: the perturbation is magnified ``factor`` times, zero in the
            middle of the scale; ``clipped`` where it was too large for that.
        width, height: pixels; scale: page pixels a pixel.
        every: 1: as in the file; k: the pictures are means over k x k pixels, the perturbation is
            every k-th of its values.
        corner: (row, column) of a part; None of the whole picture.
    """

    original: str
    moved: str
    changed: str
    factor: int
    clipped: bool
    width: int
    height: int
    every: int = 1
    corner: tuple[int, int] | None = None

    @property
    def scale(self) -> int:
        return scale_for(self.width, ROOM)

    @property
    def weight(self) -> int:
        """Letters that the pictures take in the page."""
        return len(self.original) + len(self.moved) + len(self.changed)


def shown(fooled: Fooled) -> list[Shown]:
    """The whole picture; of a large one reduced, and a part of it as it is."""
    original, changed = fooled.original, fooled.changed
    if original.size <= MOST:
        whole = _shown(original, changed)
        if whole.weight <= HEAVY:
            return [whole]
    every = max(2, math.ceil(math.sqrt(original.size / FEW)))
    return [_reduced(original, changed, every), _part(original, changed)]


def _shown(original: Pixels, changed: Pixels, corner: tuple[int, int] | None = None) -> Shown:
    moved, factor = magnified(original, changed)
    height, width = original.shape[1:]
    return Shown(
        data_uri(as_picture(original)),
        data_uri(moved),
        data_uri(as_picture(changed)),
        factor,
        _largest(original, changed) > _ENDS,
        width,
        height,
        corner=corner,
    )


def _reduced(original: Pixels, changed: Pixels, every: int) -> Shown:
    thinned = original[:, ::every, ::every], changed[:, ::every, ::every]
    moved, factor = magnified(*thinned)
    small = reduced(original, every)
    height, width = small.shape[:2]
    return Shown(
        data_uri(small),
        data_uri(moved),
        data_uri(reduced(changed, every)),
        factor,
        _largest(*thinned) > _ENDS,
        width,
        height,
        every,
    )


def _largest(original: Pixels, changed: Pixels) -> int:
    return int(np.abs(changed.astype(np.int16) - original.astype(np.int16)).max(initial=0))


def reduced(pixels: Pixels, every: int) -> Pixels:
    """uint8 [C, H, W] as a picture of means over ``every`` x ``every`` pixels."""
    from PIL import Image

    return np.asarray(Image.fromarray(as_picture(pixels)).reduce(every))


def _part(original: Pixels, changed: Pixels) -> Shown:
    """The square with the largest sum of changes, among squares that lie side by side."""
    apart = np.abs(changed.astype(np.int16) - original.astype(np.int16)).sum(axis=0)
    height, width = (min(PART, side) for side in apart.shape)
    down, across = apart.shape[0] // height, apart.shape[1] // width
    cells = apart[: down * height, : across * width].reshape(down, height, across, width)
    best = int(cells.sum(axis=(1, 3)).argmax())
    y, x = best // across * height, best % across * width
    window = (slice(None), slice(y, y + height), slice(x, x + width))
    return _shown(original[window], changed[window], (y, x))


def smallest(fooled: Fooled) -> Shown | None:
    """The smallest perturbation's pictures, where they are light and not those shown already."""
    found = fooled.smallest_changed
    if found is None or found.size > LIGHT or np.array_equal(found, fooled.changed):
        return None
    return _shown(fooled.original, found)
