"""What follows from the maps of a shift probe: numpy alone, so that pages recompute it.

Maps are [n, S, S] for n images and S = 2 radius + 1 shifts an axis: the first of the two axes is
dy (down), the second dx (right), and the middle is the image unshifted. Sources: Zhang (2019,
"Making convolutional networks shift-invariant again", section 4) for consistency, Azulay and Weiss
(2019, section 2) for one-pixel steps, Engstrom et al. (2019, section 3) for the worst of k.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.errors import BadRequest, choices
from robustlab.randomness import SampleRandom

__all__ = [
    "AXES",
    "accuracy_map",
    "centre",
    "check_axis",
    "draw_shifts",
    "flip_map",
    "losing_shift",
    "mean_elsewhere",
    "pair_consistency",
    "radii_within",
    "reference_consistency",
    "relative_error",
    "right_at",
    "right_everywhere",
    "share_right",
    "step_mean",
    "steps_changed",
    "unrelated_error",
    "unrelated_shares",
]

Array = NDArray[Any]

FLAT = 1e-6  # below this share of its norm, what a vector has about the mean is rounding
MOST_UNRELATED = 500  # images whose pairs are compared

# One-pixel steps as (dy, dx).
AXES = {"x": (0, 1), "y": (1, 0), "diagonal": (1, 1)}


def check_axis(axis: str) -> tuple[int, int]:
    """The step (dy, dx) of an axis."""
    if axis not in AXES:
        raise BadRequest(f"unknown axis {axis!r}{choices(axis, AXES)}")
    return AXES[axis]


def radii_within(radius: int) -> list[int]:
    """The radii a map is told at: powers of two below ``radius``, and itself."""
    powers = [2**k for k in range(radius.bit_length()) if 2**k < radius]
    return [*powers, radius]


def centre(maps: Array, radius: int) -> Array:
    """The part of maps [..., S, S] within a smaller radius."""
    middle = maps.shape[-1] // 2
    if not 0 <= radius <= middle:
        raise BadRequest(f"radius {radius} lies outside of a map of radius {middle}")
    inner = slice(middle - radius, middle + radius + 1)
    return maps[..., inner, inner]


def pair_consistency(prediction: Array) -> NDArray[np.float64]:
    """Share of pairs of different shifts with the same top-1, [n], over all pairs.

    The exact U-statistic: with n_c of M shifts predicted as class c it is
    ``sum_c n_c (n_c - 1) / (M (M - 1))``; no pair is drawn, and none is a shift with itself.
    """
    flat = prediction.reshape(len(prediction), -1).astype(np.int64)
    shifts = flat.shape[1]
    ordered = np.sort(flat, axis=1)
    # Runs of equal classes; a run of length m holds m (m - 1) ordered pairs.
    starts = np.ones_like(ordered, dtype=bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    run = np.cumsum(starts, axis=1) - 1
    run += (np.arange(len(flat)) * shifts)[:, None]
    counts = np.bincount(run.ravel(), minlength=flat.size).reshape(flat.shape)
    pairs: NDArray[np.float64] = (counts * (counts - 1)).sum(axis=1) / (shifts * (shifts - 1))
    return pairs


def reference_consistency(prediction: Array) -> NDArray[np.float64]:
    """Share of the other shifts whose top-1 is that of the unshifted image, [n].

    The unshifted image is not counted: it agrees with itself.
    """
    middle = prediction.shape[-1] // 2
    same = prediction == prediction[:, middle : middle + 1, middle : middle + 1]
    count = same.reshape(len(same), -1).sum(axis=1) - 1
    share: NDArray[np.float64] = count / (prediction[0].size - 1)
    return share


def steps_changed(prediction: Array, axis: str) -> NDArray[np.float64]:
    """P(top-1 changes) in a one-pixel step along an axis, [n]: the mean over all steps whose two
    ends lie in the map.
    """
    dy, dx = check_axis(axis)
    size = prediction.shape[-1]
    before, after = prediction[:, : size - dy, : size - dx], prediction[:, dy:, dx:]
    changed: NDArray[np.float64] = (before != after).reshape(len(before), -1).mean(axis=1)
    return changed


def step_mean(dp: Array, axis: str) -> NDArray[np.float64]:
    """Mean over the steps along an axis, [n], of ``dp`` [n, 3, S, S]: one map for each of `AXES`,
    at the shift that the step starts from; steps that leave the map are not counted.
    """
    dy, dx = check_axis(axis)
    size = dp.shape[-1]
    chosen = dp[:, list(AXES).index(axis), : size - dy, : size - dx].astype(np.float64)
    mean: NDArray[np.float64] = chosen.reshape(len(dp), -1).mean(axis=1)
    return mean


def mean_elsewhere(values: Array) -> NDArray[np.float64]:
    """Mean of a map [n, S, S] over the shifts other than none, [n]."""
    total = values.astype(np.float64).reshape(len(values), -1)
    middle = total.shape[1] // 2
    mean: NDArray[np.float64] = np.delete(total, middle, axis=1).mean(axis=1)
    return mean


def _about_mean(vectors: Array) -> NDArray[np.float64]:
    """``||f(x) - mean of f over the images||``, [n]; NaN where that is rounding alone."""
    exact = vectors.astype(np.float64)
    about = np.linalg.norm(exact - exact.mean(axis=0), axis=1)
    flat = about <= FLAT * np.linalg.norm(exact, axis=1)
    return np.where(flat, np.nan, about)


def relative_error(change: Array, vectors: Array) -> NDArray[np.float64]:
    """``||f(T_s x) - f(x)|| / ||f(x) - mean of f||``, mean over the shifts other than none, [n].

    The mean of f is over all images that are given, so a network that answers every image alike is
    not rewarded: one that answers all exactly alike has no error (NaN).

    Args:
        change: the numerators, [n, S, S].
        vectors: f of the unshifted images, [n, d].
    """
    error: NDArray[np.float64] = mean_elsewhere(change) / _about_mean(vectors)
    return error


def unrelated_error(vectors: Array) -> NDArray[np.float64]:
    """The same error between unrelated images, what a shift would do that left nothing of the
    image: ``||f(y) - f(x)|| / ||f(x) - mean of f||``, mean over the other images y, [m].

    Args:
        vectors: f of the unshifted images, [n, d]. Beyond `MOST_UNRELATED` of them, so many evenly
            spaced ones are compared with each other.
    """
    exact, about = vectors.astype(np.float64), _about_mean(vectors)
    rows = np.linspace(0, len(exact) - 1, min(len(exact), MOST_UNRELATED)).astype(int)
    exact, about = exact[rows], about[rows]
    if len(rows) < 2:
        return np.full(len(rows), np.nan)
    # One image against all, so that memory stays that of the vectors.
    apart = np.array([np.linalg.norm(exact - one, axis=1).sum() for one in exact])
    error: NDArray[np.float64] = apart / (len(rows) - 1) / about
    return error


def unrelated_shares(vectors: Array) -> NDArray[np.float64]:
    """What each image is worth in the mean of `unrelated_error`, [m]: jackknife pseudo-values.

    That mean is over pairs, and each image is in many of them, once divided by and often not. Its
    errors are not independent from image to image, these are to first order (the mean over the
    images taken as given; Arvesen 1969): resample these. Their mean is the same.

    Args:
        vectors: of which `unrelated_error` takes the same images.
    """
    exact, about = vectors.astype(np.float64), _about_mean(vectors)
    rows = np.linspace(0, len(exact) - 1, min(len(exact), MOST_UNRELATED)).astype(int)
    exact, about = exact[rows], about[rows]
    m = len(about)
    if m < 3 or not np.isfinite(about).all():
        return unrelated_error(vectors)
    pairs = np.array([np.linalg.norm(exact - one, axis=1) * (1 / about) for one in exact])
    pairs = (pairs + pairs.T) / 2  # of (i, j): the mean of dividing by the one and by the other
    own = pairs.sum(axis=1) / (m - 1)
    mean = own.mean()
    shares: NDArray[np.float64] = mean + 2 * (m - 1) / (m - 2) * (own - mean)
    return shares


def _right(prediction: Array, labels: Array) -> NDArray[np.bool_]:
    return np.asarray(prediction == np.asarray(labels).reshape(-1, 1, 1))


def share_right(prediction: Array, labels: Array) -> NDArray[np.float64]:
    """Share of shifts at which each image is right, [n]; its mean is accuracy over the shifts."""
    share: NDArray[np.float64] = _right(prediction, labels).mean(axis=(1, 2))
    return share


def right_everywhere(prediction: Array, labels: Array) -> NDArray[np.bool_]:
    """Whether an image is right at every shift, bool [n]: accuracy under the exhaustive adversarial
    shift.
    """
    return np.asarray(_right(prediction, labels).all(axis=(1, 2)))


def draw_shifts(ids: Sequence[str], k: int, radius: int, seed: int) -> NDArray[np.int64]:
    """k shifts (dy, dx) an image, independent and uniform over the whole square, [n, k, 2].

    Each image draws from its own stream, keyed by seed, id and radius.
    """
    random = SampleRandom(seed, ids, "shift", radius)
    drawn = random.uniform((k, 2), 0.0, 2.0 * radius + 1.0)
    return np.asarray(np.floor(drawn) - radius, dtype=np.int64).reshape(len(ids), k, 2)


def right_at(prediction: Array, labels: Array, shifts: Array) -> NDArray[np.bool_]:
    """Whether an image is right unshifted and at all of its shifts [n, k, 2], bool [n]: accuracy
    under the worst of k.
    """
    middle = prediction.shape[-1] // 2
    right = _right(prediction, labels)
    rows = np.arange(len(right))[:, None]
    at = right[rows, middle + shifts[..., 0], middle + shifts[..., 1]]
    held: NDArray[np.bool_] = at.all(axis=1) & right[:, middle, middle]
    return held


def losing_shift(prediction: Array, loss: Array, labels: Array) -> NDArray[np.int64]:
    """The adversarial shift (dy, dx) of each image, [n, 2].

    A misclassifying shift of the largest loss if there is one, else the shift of the largest loss.
    Of equal ones the shortest counts, then the first in the order of the map.
    """
    middle = prediction.shape[-1] // 2
    grid = np.arange(-middle, middle + 1)
    far = (np.abs(grid)[:, None] + np.abs(grid)).ravel()
    order = np.argsort(far, kind="stable")
    wrong = ~_right(prediction, labels).reshape(len(loss), -1)
    lost = loss.reshape(len(loss), -1).astype(np.float64)
    lost = np.where(wrong | ~wrong.any(axis=1, keepdims=True), lost, -np.inf)
    place = order[np.argmax(lost[:, order], axis=1)]
    losing = np.stack([place // len(grid), place % len(grid)], axis=1) - middle
    return np.asarray(losing, dtype=np.int64)


def accuracy_map(prediction: Array, labels: Array) -> NDArray[np.float64]:
    """Accuracy at each shift, [S, S]."""
    accuracy: NDArray[np.float64] = _right(prediction, labels).mean(axis=0)
    return accuracy


def flip_map(prediction: Array) -> NDArray[np.float64]:
    """Share of images whose top-1 at each shift is not that of the unshifted image, [S, S]."""
    middle = prediction.shape[-1] // 2
    same = prediction == prediction[:, middle : middle + 1, middle : middle + 1]
    flipped: NDArray[np.float64] = 1.0 - same.mean(axis=0)
    return flipped
