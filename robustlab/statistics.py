"""Uncertainty of rates, means and medians: Wilson, Clopper-Pearson, exact McNemar, bootstrap over
images, order statistics; Student's t where the units are trainings, not images.

All intervals are two-sided at 95 % unless said otherwise. Sources: Wilson (1927), Clopper and
Pearson (1934), McNemar (1947) in its exact binomial form; Brown, Cai and DasGupta (2001) compare
the first two. No interval of a rate has zero width: 200 of 200 is not certainty.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

__all__ = [
    "Difference",
    "Paired",
    "Rate",
    "bootstrap_mean",
    "clopper_pearson",
    "mcnemar",
    "mean_of_pairs",
    "mean_share",
    "mean_t",
    "median",
    "paired_t",
    "rate",
    "wilson",
]


@dataclass(frozen=True)
class Rate:
    """A share, mean or median with its interval: ``low <= value <= high``, from ``n`` images.

    Nothing measured (n = 0) is NaN throughout, never zero.
    """

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        """As the report writes it: ``39.2 % [32.6, 46.1]``."""
        if self.n == 0:
            return "not measured"
        value, low, high = (f"{100 * v:z.1f}" for v in (self.value, self.low, self.high))  # no -0.0
        return f"{value} % [{low}, {high}]"


def wilson(successes: int, n: int, confidence: float = 0.95) -> Rate:
    """Wilson score interval of a binomial rate (Wilson 1927; Brown et al. 2001, eq. 4)."""
    _check(successes, n)
    if n == 0:
        return Rate(math.nan, math.nan, math.nan, 0)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At 0 and n the bound on that side is exact; rounding must not move it past the value.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Rate(p, low, high, n)


def clopper_pearson(successes: int, n: int, confidence: float = 0.95) -> Rate:
    """Exact (conservative) binomial interval from the beta quantiles (Clopper and Pearson 1934)."""
    _check(successes, n)
    if n == 0:
        return Rate(math.nan, math.nan, math.nan, 0)
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, tail))
    high = 1.0 if successes == n else float(betaincinv(successes + 1, n - successes, 1 - tail))
    return Rate(successes / n, low, high, n)


def rate(hits: ArrayLike) -> Rate:
    """Wilson rate of a bool array of shape [n]."""
    array = np.asarray(hits, dtype=bool)
    return wilson(int(array.sum()), array.size)


@dataclass(frozen=True)
class Paired:
    """Exact McNemar test of two outcomes on the same images.

    ``only_first`` images are hits of the first alone, ``only_second`` of the second alone; ``p`` is
    the two-sided exact binomial p-value under equal chances, 1.0 where nothing is discordant.
    """

    only_first: int
    only_second: int
    n: int
    p: float


def mcnemar(first: ArrayLike, second: ArrayLike) -> Paired:
    """Compare two bool arrays of shape [n] on the same images (McNemar 1947, exact form)."""
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if a.shape != b.shape:
        raise ValueError(f"paired outcomes need equal shapes, got {a.shape} and {b.shape}")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    discordant = only_a + only_b
    from scipy.special import bdtr

    tail = float(bdtr(min(only_a, only_b), discordant, 0.5)) if discordant else 1.0
    p = min(1.0, 2 * tail)
    return Paired(only_a, only_b, a.size, p)


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences with its interval and two-sided p-value; ``n`` is pairs.

    NaN where there are fewer than two pairs, or where all differences are equal: nothing was seen
    to vary, which is not certainty. Of differences that are all zero ``p`` is 1.
    """

    value: float
    low: float
    high: float
    n: int
    p: float


def mean_t(values: ArrayLike, confidence: float = 0.95) -> Rate:
    """Mean of [n] values with Student's t interval (Student 1908): few units, no resampling."""
    array = np.asarray(values, dtype=np.float64)
    found = paired_t(array, np.zeros_like(array), confidence)
    return Rate(found.value, found.low, found.high, found.n)


def paired_t(first: ArrayLike, second: ArrayLike, confidence: float = 0.95) -> Difference:
    """Mean of ``first - second``, arrays [n] of the same units, with the paired t interval."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"paired values need equal shapes [n], got {a.shape} and {b.shape}")
    n, apart = a.size, a - b
    if n == 0:
        return Difference(math.nan, math.nan, math.nan, 0, math.nan)
    value = float(apart.mean())
    if n == 1:
        return Difference(value, math.nan, math.nan, 1, math.nan)
    error = float(apart.std(ddof=1)) / math.sqrt(n)
    if error <= 1e-12 * abs(value):
        return Difference(value, math.nan, math.nan, n, math.nan if value else 1.0)
    from scipy.special import stdtr, stdtrit

    half = float(stdtrit(n - 1, 0.5 + confidence / 2)) * error
    p = 2 * float(stdtr(n - 1, -abs(value / error)))
    return Difference(value, value - half, value + half, n, p)


def bootstrap_mean(
    values: ArrayLike, seed: int = 0, draws: int = 2000, confidence: float = 0.95
) -> Rate:
    """Mean of a float array of shape [n] with a percentile bootstrap over images (Efron 1979).

    Values that are not finite are left out and lower ``n``; one value has no interval (NaN).
    """
    array = np.asarray(values, dtype=np.float64)
    array = array[np.isfinite(array)]
    n = array.size
    if n == 0:
        return Rate(math.nan, math.nan, math.nan, 0)
    mean = float(array.mean())
    if n == 1:
        return Rate(mean, math.nan, math.nan, 1)
    rng = np.random.Generator(np.random.Philox(seed))
    # Blocks bound the memory: draws x n indices at once would be gigabytes for 50,000 images.
    block = max(1, 2_000_000 // n)
    sizes = [min(block, draws - done) for done in range(0, draws, block)]
    means = np.concatenate([array[rng.integers(0, n, (k, n))].mean(axis=1) for k in sizes])
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Rate(mean, min(float(low), mean), max(float(high), mean), n)


def mean_of_pairs(values: ArrayLike, partner: ArrayLike, confidence: float = 0.95) -> Rate:
    """Mean of [n] values, the i-th of a pair of images (i, partner[i]); a t interval over images.

    Two values that share an image depend on each other, so that resampling values as if each had
    images of its own is wrong: an error between two images divided by what the first has about the
    mean is small where the first lies far out, and large where the second does. The variance sums
    the products of all pairs of values that share an image (dyadic errors; Fafchamps and Gubert
    2007). Where that estimate is not positive, which happens by chance, it is that of independent
    values.

    Args:
        partner: places in 0 to n - 1 of the other image, no pair twice in one order; -1 where there
            is none. Values that are not finite are left out and lower ``n``.
    """
    from scipy.special import stdtrit

    array, other = np.asarray(values, dtype=np.float64), np.asarray(partner)
    held = np.isfinite(array) & (other >= 0)
    n = int(held.sum())
    if n == 0:
        return Rate(math.nan, math.nan, math.nan, 0)
    mean = float(array[held].mean())
    if n == 1:
        return Rate(mean, math.nan, math.nan, 1)
    apart = np.where(held, array - mean, 0.0)
    there = np.where(held, other, 0)
    by_image = apart.copy()  # the sum over the values that each image is in
    np.add.at(by_image, there[held], apart[held])
    both = held & held[there] & (other[there] == np.arange(len(array)))  # pairs told both ways
    squares = (apart**2).sum()
    total = (by_image**2).sum() - squares - (apart * apart[there])[both].sum()
    variance = (total if total > 0 else squares) / n**2 * n / (n - 1)
    quantile = float(stdtrit(n - 1, (1 + confidence) / 2))
    reach = quantile * math.sqrt(variance)
    return Rate(mean, mean - reach, mean + reach, n)


def mean_share(values: ArrayLike) -> Rate:
    """Mean of [n] shares in [0, 1], one an image (of its shifts, say); intervals resample images.

    Where all are 0 or all are 1 a bootstrap has no width. The interval is then Wilson's for the
    share of images that are above 0, or at 1: the mean is no larger, or no smaller.

    Raises:
        ValueError: a value that is no share.
    """
    array = np.asarray(values, dtype=np.float64)
    array = array[np.isfinite(array)]
    if array.size and not -1e-9 <= array.min() <= array.max() <= 1 + 1e-9:
        raise ValueError(f"shares lie in [0, 1], not from {array.min()} to {array.max()}")
    if array.size and (not array.any() or bool((array == 1).all())):
        return rate(array == 1)
    return bootstrap_mean(array)


def median(values: ArrayLike, confidence: float = 0.95) -> Rate:
    """Median of [n] values with the exact interval between two order statistics (David and Nagaraja
    2003, section 7.1), which assumes nothing of how the values are distributed.

    Infinity is a value, larger than all others; NaN is refused. Fewer than 6 values have no
    interval at 95 %: it reaches from -inf to inf.
    """
    array = np.sort(np.asarray(values, dtype=np.float64))
    n = array.size
    if n == 0:
        return Rate(math.nan, math.nan, math.nan, 0)
    if np.isnan(array[-1]):
        raise ValueError("the median of NaN is not a number; leave such values out")
    from scipy.special import bdtr

    # Ranks that lie outside: the true median has so few values below it too seldom.
    outside = int((bdtr(np.arange(n), n, 0.5) <= (1 - confidence) / 2).sum())
    low, high = float(array[(n - 1) // 2]), float(array[n // 2])
    value = low if low == high else (low + high) / 2
    if not outside:
        return Rate(value, -math.inf, math.inf, n)
    return Rate(value, float(array[outside - 1]), float(array[n - outside]), n)


def _check(successes: int, n: int) -> None:
    if n < 0 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} is not a rate")
