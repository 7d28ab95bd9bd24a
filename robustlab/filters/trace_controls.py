"""Three perturbations of the size of a given one that know nothing of the network.

All work on the pixels of one image, so none depends on which others are looked at.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.randomness import SampleRandom

__all__ = ["CONTROLS", "controls", "gaussian", "permuted", "signs"]

Array = NDArray[Any]

CONTROLS = ("gaussian", "sign", "permuted")
ROUNDS = 64  # of pairings: after so many a pixel has been offered that many places


def controls(clean: Array, changed: Array, ids: str, seed: int) -> Array:
    """The three controls of one image, float64 [3, C, H, W] in [0, 1], in order of `CONTROLS`.

    Args:
        clean, changed: uint8 [C, H, W].
        ids: the image's id, which with the seed decides all draws.
    """
    before, after = (np.asarray(x, np.float64) / 255 for x in (clean, changed))
    moved = np.asarray(changed, np.int64) - np.asarray(clean, np.int64)
    noise = SampleRandom(seed, [ids], "trace", "gaussian").normal(clean.shape)[0]
    tossed = SampleRandom(seed, [ids], "trace", "sign").uniform(clean.shape, -1.0)[0]
    order = SampleRandom(seed, [ids], "trace", "permuted").uniform((ROUNDS, *clean.shape[1:]))[0]
    return np.stack(
        [
            gaussian(before, float(np.linalg.norm(after - before)), noise),
            signs(before, float(np.abs(after - before).max()), tossed),
            (np.asarray(clean, np.int64) + permuted(clean, moved, order)) / 255.0,
        ]
    )


def gaussian(image: Array, size: float, noise: Array) -> Array:
    """``image`` plus normal noise, cut to [0, 1], so scaled that in L2 ``size`` is left of it.

    The scale is bisected: what is left after the cut grows with it.
    """

    def at(scale: float) -> Array:
        return np.asarray(np.clip(image + scale * noise, 0.0, 1.0))

    def left(scale: float) -> float:
        return float(np.linalg.norm(at(scale) - image))

    if not size:
        return image.copy()
    low, high = 0.0, 1.0
    while left(high) < size and high < 1e9:
        low, high = high, 2 * high
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if left(middle) < size else (low, middle)
    return at(high)


def signs(image: Array, size: float, tossed: Array) -> Array:
    """``image`` plus or minus ``size`` at every value, cut to [0, 1]: in Linf ``size`` is left.

    Where by chance no value moves by the whole of it, the one with most room is turned round.
    """
    step = np.where(tossed < 0, -size, size)
    made: Array = np.clip(image + step, 0.0, 1.0)
    if size and np.abs(made - image).max() < size:
        place = np.unravel_index(np.abs(image - 0.5).argmax(), image.shape)
        made[place] = np.clip(image[place] + (size if image[place] < 0.5 else -size), 0.0, 1.0)
    return made


def permuted(clean: Array, moved: Array, order: Array) -> Array:
    """The perturbation with its pixels in other places, each where it fits into the box.

    Pixels are paired anew in each round, and a pair changes places where both fit: a walk whose
    rest is uniform over the orders it can reach. The values that a pixel's channels move by stay
    together, so the histogram of every channel is kept exactly.

    Args:
        clean: levels [C, H, W]; moved: by how many levels each moves, int [C, H, W].
        order: uniform numbers [rounds, H, W]; their ranks pair the pixels.
    """
    channels = clean.shape[0]
    levels = np.asarray(clean, np.int64).reshape(channels, -1)
    here = np.asarray(moved, np.int64).reshape(channels, -1).copy()
    for row in order.reshape(len(order), -1):
        places = row.argsort(kind="stable")
        half = len(places) // 2
        a, b = places[:half], places[half : 2 * half]
        into_a, into_b = levels[:, a] + here[:, b], levels[:, b] + here[:, a]
        fits = ((into_a >= 0) & (into_a <= 255) & (into_b >= 0) & (into_b <= 255)).all(axis=0)
        a, b = a[fits], b[fits]
        here[:, a], here[:, b] = here[:, b], here[:, a]
    return here.reshape(clean.shape)
