"""What can be said of kernels by their numbers alone: dead, equal, oriented, coarse or fine.

Kernels are [filters, channels, kh, kw], float64. Frequencies are in cycles a pixel, 0 to 0.5 along
an axis; spectra are those of the kernel on an endless plane, sampled on `GRID` frequencies an axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Facts",
    "above_nyquist",
    "colour",
    "describe",
    "duplicates",
    "histogram",
    "order",
    "orientation",
    "peak_frequency",
    "spectra",
]

Floats = NDArray[np.float64]

GRID = 64
DEAD = 1e-4  # of the largest norm of the layer's filters, or of its channels
ALIKE = 0.99  # absolute cosine from which two filters are one
GREY = 0.1  # share of energy off the grey axis from which a filter counts as coloured


@dataclass(frozen=True)
class Facts:
    """The statistics of one layer.

    Attributes:
        norm: [filters], Euclidean; dead: [filters], norm at most `DEAD` of the largest.
        channel_norm: [channels] over all filters; channel_dead: [channels], likewise.
        pairs: int [k, 2] filters that are alike; cosine: [k], negative where they are opposite.
        frequency: [filters] where the spectrum is highest, in cycles a pixel; 0: a blur.
        orientation: [filters] of the stripes or edges, degrees in [0, 180), 0 level, 90 upright,
            counter-clockwise as the picture is seen; nan where there is none.
        coherence: [filters], how one-sided the orientation is: 0 none, 1 parallel stripes.
        above_nyquist: [filters] share of energy that the stride cannot carry; 0 for stride 1.
        colour: [filters] share of energy off the grey axis; 0 where there are not 3 channels.
        hue: [filters] degrees in [0, 180) of the axis through opponent colours; nan if grey.
    """

    norm: Floats
    dead: NDArray[np.bool_]
    channel_norm: Floats
    channel_dead: NDArray[np.bool_]
    pairs: NDArray[np.int32]
    cosine: Floats
    frequency: Floats
    orientation: Floats
    coherence: Floats
    above_nyquist: Floats
    colour: Floats
    hue: Floats


def describe(weight: Floats, stride: Sequence[int], groups: int = 1) -> Facts:
    """All statistics of a layer's kernels [filters, channels / groups, kh, kw].

    Filters of different groups look at different channels and are never alike.
    """
    norm = np.sqrt(np.square(weight).sum(axis=(1, 2, 3)))
    parts = np.split(weight, groups)
    channel = np.concatenate([np.sqrt(np.square(p).sum(axis=(0, 2, 3))) for p in parts])
    dead = _dead(norm)
    pairs, cosine = _alike(parts, np.split(dead, groups))
    angle, coherence = orientation(weight)
    shade, hue = colour(weight)
    nothing = np.where(dead, np.nan, 1.0)  # a filter without weights has none of these
    return Facts(
        norm,
        dead,
        channel,
        _dead(channel),
        pairs,
        cosine,
        peak_frequency(weight) * nothing,
        angle * nothing,
        coherence * nothing,
        above_nyquist(weight, stride) * nothing,
        shade * nothing,
        hue * nothing,
    )


def _dead(norm: Floats) -> NDArray[np.bool_]:
    return np.asarray(norm <= DEAD * norm.max(initial=0.0))


def _alike(
    parts: Sequence[Floats], dead: Sequence[NDArray[np.bool_]]
) -> tuple[NDArray[np.int32], Floats]:
    found, first = [], 0
    for part, gone in zip(parts, dead, strict=True):
        pairs, cosine = duplicates(part, gone)
        found.append((pairs + first, cosine))
        first += len(part)
    return np.concatenate([p for p, _ in found]), np.concatenate([c for _, c in found])


def duplicates(weight: Floats, dead: NDArray[np.bool_]) -> tuple[NDArray[np.int32], Floats]:
    """Pairs of filters [k, 2] whose cosine is at least `ALIKE` in size, and the cosines [k].

    Dead filters have no direction and are left out, kernels of one weight as well: they are all
    alike up to their sign.
    """
    flat = weight.reshape(len(weight), -1)
    if flat.shape[1] == 1:
        return np.zeros((0, 2), np.int32), np.zeros(0)
    length = np.sqrt(np.square(flat).sum(axis=1, keepdims=True))
    unit = np.divide(flat, length, out=np.zeros_like(flat), where=~dead[:, None] & (length > 0))
    cosine = np.triu(unit @ unit.T, 1)
    pairs = np.argwhere(np.abs(cosine) >= ALIKE).astype(np.int32)
    return pairs, cosine[pairs[:, 0], pairs[:, 1]]


def spectra(weight: Floats, side: int = GRID) -> Floats:
    """Power [filters, side, side] summed over channels, frequency 0 at [side // 2, side // 2].

    The transform of the autocorrelation, summed over channels first (Wiener and Khinchin): a layer
    of 512 x 512 kernels would fill 17 GB with spectra of its own.
    """
    filters, _, height, width = weight.shape
    lags = np.zeros((filters, side, side))
    for down in range(height):
        for right in range(1 - width, width):
            if down == 0 and right < 0:
                continue  # the opposite lag, which has the same value, is added below
            late = weight[:, :, down:, max(right, 0) : width + min(right, 0)]
            early = weight[:, :, : height - down, max(-right, 0) : width - max(right, 0)]
            sums = np.einsum("fchw,fchw->f", late, early)
            lags[:, down % side, right % side] += sums
            if (down, right) != (0, 0):
                lags[:, -down % side, -right % side] += sums
    # Rounding may leave a zero of the spectrum a little below it.
    power = np.maximum(np.fft.fft2(lags).real, 0.0)
    return np.asarray(np.fft.fftshift(power, axes=(1, 2)), np.float64)


def _frequencies() -> tuple[Floats, Floats]:
    one = np.fft.fftshift(np.fft.fftfreq(GRID))
    rows, columns = np.meshgrid(one, one, indexing="ij")
    return rows, columns


def peak_frequency(weight: Floats) -> Floats:
    """Radial frequency [filters] of the largest value of the spectrum, in cycles a pixel."""
    power = spectra(weight).reshape(len(weight), -1)
    radius = np.hypot(*_frequencies()).reshape(-1)
    # Of values that rounding alone tells apart the lowest frequency is taken.
    tied = power >= power.max(axis=1, keepdims=True) * (1 - 1e-9)
    return np.asarray(np.where(tied, radius, np.inf).min(axis=1), np.float64)


def orientation(weight: Floats) -> tuple[Floats, Floats]:
    """Degrees [filters] in [0, 180) of stripes and edges, and the coherence [filters].

    The main axis of the second moments of the power spectrum; stripes run across it.
    """
    power = spectra(weight)
    rows, columns = _frequencies()
    # At -1/2 a frequency is its own opposite, so that its sign means nothing.
    mixed = np.where((rows == -0.5) | (columns == -0.5), 0.0, rows * columns)
    yy, xx, yx = (
        (power * moment).sum(axis=(1, 2)) for moment in (rows * rows, columns * columns, mixed)
    )
    total, length = yy + xx, np.hypot(xx - yy, 2 * yx)
    coherence = np.divide(length, total, out=np.zeros_like(total), where=total > 0)
    wave = -np.degrees(np.arctan2(2 * yx, xx - yy)) / 2  # rows count downwards
    angle = np.mod(np.round(wave + 90, 9), 180)
    return np.where(coherence > 1e-6, angle, np.nan), coherence


def above_nyquist(weight: Floats, stride: Sequence[int]) -> Floats:
    """Share of energy [filters] at frequencies above 1 / (2 stride) along either axis.

    Exact: energy in a band is the kernel's autocorrelation weighted with the band's own transform,
    a sinc (Parseval). What lies there folds down to other frequencies (aliasing).
    """
    kept = weight
    for axis, step in ((2, stride[0]), (3, stride[1])):
        if step == 1:
            continue  # nothing is left out
        lags = np.subtract.outer(*(np.arange(weight.shape[axis]),) * 2)
        band = np.sinc(lags / step) / step
        kept = np.moveaxis(np.tensordot(kept, band, (axis, 0)), -1, axis)
    total = np.square(weight).sum(axis=(1, 2, 3))
    inside = (weight * kept).sum(axis=(1, 2, 3))
    share = 1 - np.divide(inside, total, out=np.ones_like(total), where=total > 0)
    return np.asarray(np.clip(share, 0.0, 1.0), np.float64)


def colour(weight: Floats) -> tuple[Floats, Floats]:
    """Share of energy off the grey axis [filters], and the hue of its axis, degrees in [0, 180).

    Filters respond to a colour and, with the other sign, to its opponent: hues are axes (red and
    cyan are one). 0 and nan where there are not three channels.
    """
    n = len(weight)
    if weight.shape[1] != 3:
        return np.zeros(n), np.full(n, np.nan)
    off = weight - weight.mean(axis=1, keepdims=True)
    total = np.square(weight).sum(axis=(1, 2, 3))
    share = np.square(off).sum(axis=(1, 2, 3))
    share = np.divide(share, total, out=np.zeros(n), where=total > 0)
    # The plane of hues: red at 0 degrees, green at 120, blue at 240.
    x = off[:, 0] - (off[:, 1] + off[:, 2]) / 2
    y = (off[:, 1] - off[:, 2]) * np.sqrt(3) / 2
    double = np.arctan2((2 * x * y).sum(axis=(1, 2)), (x * x - y * y).sum(axis=(1, 2)))
    hue = np.mod(np.round(np.degrees(double) / 2, 9), 180)
    return share, np.where(share > GREY, hue, np.nan)


def order(facts: Facts) -> NDArray[np.intp]:
    """Filters as the grid shows them: grey ones by frequency and orientation, then coloured ones by
    hue and frequency, dead ones last.
    """
    coloured = ~np.isnan(facts.hue)
    frequency, angle = np.nan_to_num(facts.frequency), np.nan_to_num(facts.orientation)
    first = np.where(coloured, np.nan_to_num(facts.hue), frequency)
    second = np.where(coloured, frequency, angle)
    return np.lexsort((second, first, coloured, facts.dead))


def histogram(weight: NDArray[Any], bins: int = 41) -> tuple[NDArray[np.int64], Floats]:
    """Counts [bins] of the weights and the edges [bins + 1], symmetric about zero."""
    end = float(np.abs(weight).max(initial=0.0)) or 1.0
    counts, edges = np.histogram(weight, bins=bins, range=(-end, end))
    return counts.astype(np.int64), np.asarray(edges, np.float64)
