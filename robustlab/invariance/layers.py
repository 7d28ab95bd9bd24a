"""Equivariance against invariance, layer by layer, under shifts by whole and by broken pixels.

For every layer: does its map move along with the image (equivariance), and how much of it stays as
it was (invariance)? Beside both stands the same error between unrelated images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from robustlab.adversarial.images import load_pixels
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.hooks import counted, find_layers
from robustlab.invariance.layer_errors import Shift
from robustlab.invariance.layer_measures import Ruler
from robustlab.invariance.layer_pictures import pictured
from robustlab.invariance.layer_strides import measure_strides
from robustlab.invariance.layer_survey import Survey, seams_of
from robustlab.outcome import Metric, Outcome
from robustlab.randomness import SampleRandom
from robustlab.registry import probe

__all__ = ["equivariance"]

# Names in the summary -> columns. Those that average over the shifts asked for say so: the page
# tells the first shift alone, and the shift probe averages over all shifts of a radius.
METRICS = {
    "logit_error_over_shifts": "logit_error",
    "logit_cosine_distance_over_shifts": "logit_cosine_distance",
    "unrelated_logit_error": "unrelated_logit_error",
    "prediction_kept": "prediction_kept",
    "probability_moved_over_shifts": "probability_moved",
}


def refuse(
    backbone: Backbone, data: Data, *, mode: str, images: int, seams: bool, **params: Any
) -> None:
    """Shifts that leave nothing of an image, or move nothing; a circle that is none."""
    _checked(params["shifts"], data.shape[1:], mode)
    _chosen(data, images)
    if mode == "circular" and not seams:
        _circle(backbone)


def _circle(backbone: Backbone) -> None:
    """`BadRequest` where a layer sees something else than the other side past its map's edge."""
    found, _ = seams_of(backbone)
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise BadRequest(
            f"{backbone.name}: circular shifts have a seam here, for not every layer goes round "
            f"its map: {', '.join(found[:3])}{more}. That takes circular padding in every layer "
            "and sizes that the strides divide (swap_pooling(..., padding='circular') gives the "
            "first). Use mode 'zero' or 'reflect', or say seams = true to count the seam as the "
            "network's error"
        )


@probe("equivariance", scope="set", version=4, check=refuse)
def equivariance(
    backbone: Backbone,
    data: Data,
    *,
    shifts: tuple[tuple[int | float, ...], ...] = ((0, 1), (1, 0), (0, 2), (0, 4)),
    mode: Literal["zero", "reflect", "circular"] = "zero",
    layers: int = 0,
    images: int = 64,
    tolerance: float = 1e-5,
    seams: bool = False,
) -> Outcome:
    """How far each layer moves along with a shifted image, and how far it stays as it was.

    shifts: list of (dy, dx) in pixels, down and right positive; parts of pixels if circular
    mode: what fills the pixels left behind: zero (black), reflect or circular
    layers: at most so many layers, evenly spread; 0: all
    images: at most so many images; 0: all
    tolerance: a value has changed when it did by this share of its layer's largest
    seams: circular shifts also of a network that makes no circle of its image, whose seam counts
    """
    asked = _checked(shifts, data.shape[1:], mode)
    chosen = _chosen(data, images)
    with counted(backbone.network) as passes:
        if mode == "circular" and not seams:
            _circle(backbone)
        survey, ruler = _started(backbone, data, chosen[0], asked, layers, mode, tolerance)
        for places in survey.batches():
            survey.add(ruler, places, chosen[1])
        pictures = pictured(backbone, data, chosen[0][0], ruler, asked[0])
    return Outcome(
        survey.samples(),
        arrays={**survey.arrays(ruler), **pictures},
        metrics={name: Metric(held, among="measured") for name, held in METRICS.items()},
        notes=survey.notes(ruler, chosen[1]),
        cost={"forward": float(sum(passes)), "backward": 0.0},
    )


def _started(
    backbone: Backbone,
    data: Data,
    rows: Sequence[int],
    shifts: Sequence[Shift],
    limit: int,
    mode: str,
    tolerance: float,
) -> tuple[Survey, Ruler]:
    """The layers found, their strides measured, the mean vectors taken."""
    first = load_pixels(data, rows[:1], backbone)[0].to(backbone.dtype)
    layers, passed_over = find_layers(backbone.network, first.repeat(2, 1, 1, 1), limit)
    if not layers or layers[-1].kind != "vector":
        raise BadRequest(f"the last layer of {backbone.name} gives no logits that hooks can see")
    strides = measure_strides(backbone.network, first, layers)
    survey = Survey(backbone, data, layers, rows, shifts, passed_over)
    return survey, Ruler(backbone.network, layers, strides, mode, survey.means(), tolerance)


def _checked(shifts: Sequence[Sequence[float]], size: Sequence[int], mode: str) -> list[Shift]:
    asked = [tuple(_number(v) for v in s) for s in shifts]
    if not asked:
        raise BadRequest("'equivariance' needs at least one shift, as [[0, 1]]: (dy, dx) in pixels")
    pairs: list[Shift] = []
    for one in asked:
        if len(one) != 2 or one == (0, 0):
            raise BadRequest(
                f"shift {list(one)} of 'equivariance' is no (dy, dx) that moves an image; write "
                "[0, 1] for one pixel to the right"
            )
        height, width = size
        if abs(one[0]) >= height or abs(one[1]) >= width:
            raise BadRequest(
                f"shift {list(one)} of 'equivariance' leaves nothing of images of {height}x{width} "
                f"pixels; the largest are {height - 1} and {width - 1}"
            )
        if mode != "circular" and not all(isinstance(v, int) for v in one):
            raise BadRequest(
                f"shift {list(one)} of 'equivariance' is by parts of pixels, which mode {mode!r} "
                "can only blur together, and the blur would count as the network's error; take "
                "whole pixels, or mode 'circular'"
            )
        pairs.append((one[0], one[1]))
    if len(set(pairs)) < len(pairs):
        raise BadRequest("'equivariance' has a shift twice; take one out")
    return pairs


def _number(value: float) -> float:
    """Whole ones as ints; what is no finite number is no shift."""
    if not math.isfinite(value):
        raise BadRequest(f"{value} in the shifts of 'equivariance' is no finite number of pixels")
    return int(value) if float(value).is_integer() else float(value)


def _chosen(data: Data, most: int) -> tuple[list[int], list[int]]:
    """Rows that are measured, in an order drawn by their ids, and an unrelated image for each.

    The partner is the next one in that order that is another picture; -1 where there is none.
    """
    if most < 0:
        raise BadRequest(f"images={most} of 'equivariance' is below 0; 0 takes all")
    drawn = SampleRandom(0, data.ids, "equivariance").uniform(())
    order = np.lexsort((np.array(data.ids), drawn)).tolist()[: most or None]
    partners = []
    for place, row in enumerate(order):
        others = (*order[place + 1 :], *order[:place])
        different = (o for o in others if not np.array_equal(data.images[o], data.images[row]))
        partners.append(next(different, -1))
    return order, partners
