"""How alike two maps over an image are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["rank_correlation"]


def rank_correlation(
    a: NDArray[Any], b: NDArray[Any], where: NDArray[np.bool_] | None = None
) -> float:
    """Spearman's rank correlation of the magnitudes of two arrays of one shape, in [-1, 1].

    The measure of Adebayo et al. (2018); NaN where one of them is the same everywhere. With
    ``where``, bool of that shape, over these values alone.
    """
    from scipy.stats import spearmanr

    one, other = (np.abs(np.asarray(x, np.float64)) for x in (a, b))
    keep = np.ones(one.shape, bool) if where is None else where
    one, other = one[keep], other[keep]
    if one.size < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(spearmanr(one, other).statistic)
