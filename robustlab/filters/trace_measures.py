"""How far two feature vectors are apart: relative distance, cosine, units that cross zero."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["MEASURES", "compare", "relative_distance"]

Array = NDArray[Any]

MEASURES = ("relative_distance", "cosine", "flips")


def relative_distance(clean: Tensor, changed: Tensor) -> Tensor:
    """||changed - clean|| / ||clean|| of each image, float64 [n]; NaN where the clean one is zero.

    Args:
        clean, changed: [n, ...] on any scale.
    """
    before, after = clean.flatten(1).double(), changed.flatten(1).double()
    size = before.norm(dim=1)
    apart: Tensor = (after - before).norm(dim=1) / size
    return apart.masked_fill(size == 0, torch.nan)


def compare(clean: Tensor, changed: Tensor) -> dict[str, Array]:
    """The measures of one layer, float64 [n] each.

    ``cosine`` is the cosine of the angle between the two, in [-1, 1]; NaN where one is zero.
    ``flips`` is the share of units that are above zero on one side only, in [0, 1]: behind a ReLU
    those that are switched on or off, in front of it those that will be.
    """
    before, after = clean.flatten(1).double(), changed.flatten(1).double()
    sizes = before.norm(dim=1) * after.norm(dim=1)
    cosine = ((before * after).sum(dim=1) / sizes).clamp(-1, 1).masked_fill(sizes == 0, torch.nan)
    found = {
        "relative_distance": relative_distance(clean, changed),
        "cosine": cosine,
        "flips": ((before > 0) != (after > 0)).double().mean(dim=1),
    }
    return {name: np.asarray(value.cpu()) for name, value in found.items()}
