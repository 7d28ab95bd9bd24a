"""Snow and fog."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from robustlab.invariance.corrupted.blurs import motion, ratio, zoom
from robustlab.randomness import SampleRandom

__all__ = ["fog", "grey", "snow", "terrain"]

Image = NDArray[np.float64]
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R 601


def grey(image: Image) -> Image:
    """Luma of an image [H, W, C], shape [H, W, 1]."""
    return image if image.shape[2] == 1 else (image @ _LUMA)[:, :, None]


def snow(image: Image, severity: int, rng: SampleRandom) -> Image:
    """Flakes, smeared downwards in a seeded direction, on a picture that is drawn towards white."""
    mean, deviation, size, least, radius, sigma, kept = (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    )[severity - 1]
    height, width = image.shape[:2]
    flakes = mean + deviation * rng.normal((height, width, 1))[0]
    flakes = zoom(flakes, max(1.0, size * ratio(image)))
    flakes = np.where(flakes < least, 0.0, np.clip(flakes, 0, 1))
    angle = math.radians(float(rng.uniform((), 45, 135)[0]))
    flakes = motion(flakes, radius, sigma, angle)
    white = np.maximum(image, 1.5 * grey(image) + 0.5)
    return kept * image + (1 - kept) * white + flakes + np.rot90(flakes, 2)


def fog(image: Image, severity: int, rng: SampleRandom) -> Image:
    """Clouds added, then all brought back to the range that the image had."""
    strength, decay = ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))[severity - 1]
    height, width = image.shape[:2]
    steps = math.ceil(math.log2(max(height, width)))
    clouds = terrain(steps, decay, rng)[:height, :width, None]
    brightest = float(image.max())
    return (image + strength * clouds) * brightest / (brightest + strength)


def terrain(steps: int, decay: float, rng: SampleRandom) -> Image:
    """A height map in [0, 1] by the diamond-square algorithm on a torus (Fournier et al. 1982).

    Shape [2 ** steps, 2 ** steps]. At each of the ``steps`` halvings the random part shrinks by the
    square of ``decay``.
    """
    size = 2**steps
    heights = np.zeros((size, size))
    step, rough = size, 1.0
    while step >= 2:
        half = step // 2
        corners = heights[::step, ::step]
        across = corners + np.roll(corners, -1, axis=1)
        middle = (across + np.roll(across, -1, axis=0)) / 4 + _rough(rng, corners.shape, rough)
        heights[half::step, half::step] = middle
        # Midpoints of the edges: two corners, and the two middles beside them.
        upper = across + middle + np.roll(middle, 1, axis=0)
        heights[::step, half::step] = upper / 4 + _rough(rng, corners.shape, rough)
        down = corners + np.roll(corners, -1, axis=0)
        left = down + middle + np.roll(middle, 1, axis=1)
        heights[half::step, ::step] = left / 4 + _rough(rng, corners.shape, rough)
        step, rough = half, rough / decay**2
    heights -= heights.min()
    scaled: Image = heights / (heights.max() or 1.0)
    return scaled


def _rough(rng: SampleRandom, shape: tuple[int, ...], most: float) -> Image:
    drawn: Image = rng.uniform(shape, -most, most)[0]
    return drawn
