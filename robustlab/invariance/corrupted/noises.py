"""Noise of an electronic sensor, of few photons, and of broken pixels; not scaled with the size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robustlab.randomness import SampleRandom

__all__ = ["gaussian_noise", "impulse_noise", "shot_noise"]

Image = NDArray[np.float64]


def gaussian_noise(image: Image, severity: int, rng: SampleRandom) -> Image:
    """Normal noise in every pixel and channel (low light)."""
    deviation = (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1]
    noisy: Image = image + deviation * rng.normal(image.shape)[0]
    return noisy


def shot_noise(image: Image, severity: int, rng: SampleRandom) -> Image:
    """Poisson counts around ``image * photons`` (the discrete nature of light)."""
    from scipy.stats import poisson

    photons = (60, 25, 12, 5, 3)[severity - 1]
    # From one uniform number by the inverse distribution: the same draw at all severities.
    counts: Image = poisson.ppf(rng.uniform(image.shape)[0], image * photons)
    return counts / photons


def impulse_noise(image: Image, severity: int, rng: SampleRandom) -> Image:
    """Salt and pepper: a share of all values becomes 0 or 1 (bit errors)."""
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]
    hit, salt = rng.uniform((2, *image.shape))[0]
    return np.where(hit < share, np.where(salt < 0.5, 0.0, 1.0), image)
