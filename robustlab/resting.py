"""Had a search come to rest? One criterion, for the detector of a cell and for the page alike."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["in_logits", "still_rising", "too_many"]

Curves = NDArray[np.float64]

_TAIL = 0.1  # share of the steps
_STEEP = 0.5  # of the slope that the whole curve has on average: over a tenth, 5 % of its range
_FEW, _SHARE = 2, 0.25  # more images than these rise: the attack was stopped, not one image


def in_logits(losses: Curves) -> Curves:
    """Cross-entropies as how far the label's logit lies behind all others together, log(e^L - 1).

    On a confident network cross-entropy grows exponentially along a straight walk, so that its own
    last tenth always seems steep. With a target the loss is minus the target's cross-entropy.
    """
    size = np.clip(np.abs(losses), 1e-37, 80.0)
    behind = np.log(np.expm1(size)) + np.maximum(np.abs(losses) - 80.0, 0.0)
    with np.errstate(invalid="ignore"):
        seen: Curves = np.where(losses < 0, -behind, behind)
    return seen


def still_rising(curves: Curves) -> NDArray[np.bool_]:
    """Whether each curve of [m, steps] still rises at its end, bool [m]."""
    best = np.maximum.accumulate(curves, axis=1)
    steps = best.shape[1]
    tail = math.ceil(_TAIL * steps)
    height = best[:, -1] - best[:, 0]
    rise = best[:, -1] - best[:, -1 - tail]
    with np.errstate(invalid="ignore"):
        real = height > 1e-5 * np.abs(best).max(axis=1)  # not the last bits of a flat curve
        rising: NDArray[np.bool_] = real & (rise > _STEEP * height * tail / (steps - 1))
    return rising


def too_many(rising: int, of: int) -> bool:
    """Whether so many of the images looked at rise that the search itself was stopped too early."""
    return rising > max(_FEW, _SHARE * of)
