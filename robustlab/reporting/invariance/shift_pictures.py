"""Heatmaps over shifts, and one real image at the shifts where its answer turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.invariance import shift_measures as measures
from robustlab.reporting.gallery import class_name
from robustlab.reporting.invariance.shift_found import Shifts
from robustlab.reporting.pixels import as_picture, data_uri
from robustlab.reporting.section import Story

__all__ = ["Example", "choose_example", "colour_bar", "diagonal", "flips", "heatmap", "words"]

Array = NDArray[Any]

_CELL = 6  # pixels of the PNG a cell, so that viewers that smooth do little harm
MOST = 4  # pictures of flips


@dataclass(frozen=True)
class Example:
    """One image with the picture around it, uint8 [C, H + 2r, W + 2r], by its row in the data."""

    row: int
    picture: Array
    radius: int

    def window(self, dy: int, dx: int) -> Array:
        """The image as the network saw it at a shift."""
        r, (height, width) = self.radius, self.picture.shape[1:]
        return self.picture[:, r - dy : height - r - dy, r - dx : width - r - dx]


def choose_example(found: Sequence[Shifts]) -> Example | None:
    """Of the images kept by any backbone, the one whose answers agree least over the shifts, summed
    over the backbones; of equal ones the first.
    """
    kept: dict[int, Array] = {}
    for one in found:
        rows = one.array("picture_row").tolist()
        kept |= {int(row): p for row, p in zip(rows, one.array("clean"), strict=True)}
    if not kept:
        return None
    same = sum(measures.pair_consistency(one.prediction) for one in found)
    row = min(sorted(kept), key=lambda r: float(np.asarray(same)[r]))
    return Example(row, kept[row], found[0].radius)


def words(dy: int, dx: int) -> str:
    """A shift in words: ``3 down, 2 left``; the image itself is ``not shifted``."""
    parts = []
    if dy:
        parts.append(f"{abs(dy)} {'down' if dy > 0 else 'up'}")
    if dx:
        parts.append(f"{abs(dx)} {'right' if dx > 0 else 'left'}")
    return ", ".join(parts) or "not shifted"


def _coloured(shares: Array) -> Array:
    from matplotlib import colormaps

    colours = np.asarray(colormaps["cividis"](np.clip(shares, 0.0, 1.0)))[..., :3]
    return (255 * colours).round().astype(np.uint8)


def heatmap(values: Array, low: float, high: float) -> str:
    """A map [S, S] as a PNG on the scale from ``low`` to ``high``."""
    shares = (values - low) / (high - low)
    return data_uri(np.kron(_coloured(shares), np.ones((_CELL, _CELL, 1), np.uint8)))


def colour_bar() -> str:
    """The scale, from low to high."""
    return data_uri(_coloured(np.linspace(0, 1, 128)[None]))


def diagonal(one: Shifts, row: int) -> tuple[Array, Array, Array]:
    """Positions, p(true) and predictions of one image along the diagonal; sub-pixel where the run
    has them.
    """
    assert one.group.outcome is not None
    params, arrays = one.group.plan["params"], one.group.outcome.arrays
    if params.get("axis") == "diagonal" and "line_probability" in arrays:
        y = arrays["line_probability"][row]
        return np.linspace(-one.radius, one.radius, len(y)), y, arrays["line_prediction"][row]
    place = np.arange(2 * one.radius + 1)
    x = place - one.radius
    return x, arrays["probability"][row, place, place], arrays["prediction"][row, place, place]


def flips(story: Story, found: Sequence[Shifts], example: Example) -> dict[str, Any] | None:
    """One-pixel steps along the diagonal that change an answer, of the backbone that changes it
    most often: pictures before and after.
    """
    place = np.arange(2 * example.radius + 1)
    lines = {one.backbone: one.prediction[example.row, place, place] for one in found}
    often = {name: int((line[1:] != line[:-1]).sum()) for name, line in lines.items()}
    one = max(found, key=lambda s: often[s.backbone])
    line = lines[one.backbone]
    steps = np.flatnonzero(line[1:] != line[:-1]).tolist()
    if not steps:
        return None
    steps.sort(key=lambda k: abs(k - example.radius))  # the nearest to the unshifted image
    shown = sorted({at for k in steps for at in (k, k + 1)}, key=lambda k: abs(k - example.radius))
    chosen = sorted({steps[0], steps[0] + 1, *shown[:MOST]})[:MOST]
    label = int(one.labels[example.row])
    items = []
    for k in chosen:
        by = k - example.radius
        p = float(one.array("probability")[example.row, k, k])
        items.append(
            {
                "uri": data_uri(as_picture(example.window(by, by))),
                "words": words(by, by),
                "said": class_name(story, int(line[k])),
                "right": int(line[k]) == label,
                "p": f"{100 * p:.1f} %",
                "mark": (float(by), p),
            }
        )
    return {
        "backbone": one.backbone,
        "items": items,
        "many": len(steps),
        "true": class_name(story, label),
        "id": str(one.column("id")[example.row]),
    }
