"""Blurs: out of focus, through frosted glass, by motion, by zooming. Lengths scale with the size.

Outside the image lies its mirror image, so that no border darkens.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from robustlab.randomness import SampleRandom

__all__ = ["defocus_blur", "glass_blur", "motion", "motion_blur", "ratio", "zoom", "zoom_blur"]

Image = NDArray[np.float64]
_FINE = 8  # points a pixel, by which the share of a pixel inside a disc is counted


def ratio(image: Image) -> float:
    """The shorter side over 224, by which lengths are multiplied."""
    return float(min(image.shape[:2])) / 224


def defocus_blur(image: Image, severity: int, rng: SampleRandom) -> Image:
    """Convolved with a disc; a pixel of its rim counts by the share that lies inside."""
    radius = (3, 4, 6, 8, 10)[severity - 1] * ratio(image)
    reach = math.ceil(radius + 0.5)
    fine = (np.arange((2 * reach + 1) * _FINE) + 0.5) / _FINE - reach - 0.5
    inside = (fine[:, None] ** 2 + fine[None, :] ** 2 <= radius**2).astype(np.float64)
    disc = inside.reshape(2 * reach + 1, _FINE, 2 * reach + 1, _FINE).mean(axis=(1, 3))
    return _convolved(image, disc)


def glass_blur(image: Image, severity: int, rng: SampleRandom) -> Image:
    """Smoothed, every pixel read from a random place nearby, several times, and smoothed again."""
    from scipy.ndimage import gaussian_filter

    sigma, most, times = ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))[
        severity - 1
    ]
    sigma, most = sigma * ratio(image), max(1, round(most * ratio(image)))
    height, width = image.shape[:2]
    changed = gaussian_filter(image, (sigma, sigma, 0), mode="mirror")
    rows, columns = np.mgrid[:height, :width]
    for _ in range(times):
        down, across = np.floor(rng.uniform((2, height, width))[0] * (2 * most + 1)) - most
        row = np.clip(rows + down, 0, height - 1).astype(int)
        column = np.clip(columns + across, 0, width - 1).astype(int)
        changed = changed[row, column]
    smooth: Image = gaussian_filter(changed, (sigma, sigma, 0), mode="mirror")
    return smooth


def motion_blur(image: Image, severity: int, rng: SampleRandom) -> Image:
    """Smeared along a seeded direction, at most 45 degrees from the horizontal."""
    radius, sigma = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[severity - 1]
    angle = math.radians(float(rng.uniform((), -45, 45)[0]))
    return motion(image, radius, sigma, angle)


def motion(image: Image, radius: float, sigma: float, angle: float) -> Image:
    """Smeared to one side: half a Gaussian along a line, lengths in pixels of a 224-pixel image;
    ``angle`` in radians from the horizontal.
    """
    length, sigma = radius * ratio(image), sigma * ratio(image)
    reach = math.ceil(length)
    place = np.linspace(0, length, 4 * reach + 1)
    weight = np.exp(-(place**2) / (2 * sigma**2))
    kernel = np.zeros((2 * reach + 3, 2 * reach + 3))
    down, across = (reach + 1 + place * f(angle) for f in (math.sin, math.cos))
    top, left = np.floor(down).astype(int), np.floor(across).astype(int)
    for lower in (0, 1):
        for right in (0, 1):  # each point of the line is shared by the four pixels around it
            share = (1 - np.abs(down - top - lower)) * (1 - np.abs(across - left - right))
            np.add.at(kernel, (top + lower, left + right), weight * share)
    return _convolved(image, kernel)


def zoom_blur(image: Image, severity: int, rng: SampleRandom) -> Image:
    """The mean of the image and of itself zoomed in on, as when a camera moves quickly ahead."""
    most, step = ((1.1, 0.01), (1.15, 0.01), (1.2, 0.02), (1.24, 0.02), (1.3, 0.03))[severity - 1]
    factors = np.arange(1.0, most + step / 2, step)
    mean: Image = np.mean([zoom(image, factor) for factor in factors], axis=0)
    return mean


def zoom(image: Image, factor: float) -> Image:
    """Magnified about the centre, bilinear, mirrored outside; [H, W, C]."""
    from scipy.ndimage import map_coordinates

    height, width = image.shape[:2]
    rows = (np.arange(height) - (height - 1) / 2) / factor + (height - 1) / 2
    columns = (np.arange(width) - (width - 1) / 2) / factor + (width - 1) / 2
    places = np.meshgrid(rows, columns, indexing="ij")
    channels = [
        map_coordinates(c, places, order=1, mode="mirror") for c in np.moveaxis(image, 2, 0)
    ]
    return np.stack(channels, axis=2)


def _convolved(image: Image, kernel: Image) -> Image:
    from scipy.ndimage import convolve

    blurred: Image = convolve(image, (kernel / kernel.sum())[:, :, None], mode="mirror")
    return blurred
