"""How far a feature map is from moving along with its image, and how far from standing still.

All errors are ratios of norms: of a difference, to the map about its mean. The mean is that of each
channel over its cells, so that a constant channel, which moves along with anything, is no credit
to the network. A map that is constant throughout has no error (NaN). Computed in float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from robustlab.invariance.shifts import fourier_shifted

__all__ = [
    "Roll",
    "Shift",
    "aligned_error",
    "best_roll",
    "best_roll_near",
    "cosine_distance",
    "fractional_error",
    "inside",
    "moved",
    "share_changed",
    "vector_error",
]

Roll = tuple[int, int]  # (rows, columns), in cells of the map
Shift = tuple[float, float]  # (dy, dx) in pixels, down and right

FLAT = 1e-6  # below this share of its norm, what a map has about its mean is rounding


def moved(x: Tensor, roll: Roll) -> Tensor:
    """T_t: cell (i, j) goes to (i + t_rows, j + t_columns), around the borders."""
    return x.roll(roll, dims=(-2, -1))


def inside(roll: Roll, size: Sequence[int], device: torch.device) -> Tensor:
    """Bool [h, w]: cells that `moved` fills from inside the map, not from around its border."""
    held = torch.ones(*size, dtype=torch.bool, device=device)
    for axis, step in enumerate(roll):
        line = held.transpose(0, axis)
        if step > 0:
            line[:step] = False
        elif step < 0:
            line[step:] = False
    return held


def _energy(maps: Tensor, kept: Tensor | None = None) -> Tensor:
    """Sum of squares about the mean of each channel, [n], over the kept cells [h, w]."""
    flat = maps.double().flatten(2) if kept is None else maps.double()[..., kept]
    if flat.shape[-1] == 0:
        return flat.new_zeros(len(maps))
    energy = (flat - flat.mean(dim=-1, keepdim=True)).square().sum(dim=(1, 2))
    plain = flat.square().sum(dim=(1, 2))
    return energy.where(energy > FLAT**2 * plain, 0.0)


def _ratio(squares: Tensor, energy: Tensor) -> Tensor:
    return (squares / energy).sqrt().masked_fill(energy == 0, torch.nan)


def aligned_error(
    after: Tensor, before: Tensor, roll: Roll = (0, 0), kept: Tensor | None = None
) -> Tensor:
    """||after - T_t before|| / ||before about its mean||, [n]: Phi(T_s x) against T_t Phi(x).

    With t = s / stride it measures equivariance, with t = 0 invariance.

    Args:
        after, before: maps [n, C, h, w] of the shifted and of the clean images.
        roll: t, in cells.
        kept: bool [h, w], the cells that are compared; None: all. None kept gives NaN.
    """
    there = moved(before, roll)
    difference = (after.double() - there.double()).square()
    squares = difference.sum(dim=(1, 2, 3)) if kept is None else difference[..., kept].sum((1, 2))
    return _ratio(squares, _energy(there, kept))


def fractional_error(after: Tensor, before: Tensor, parts: Shift) -> Tensor:
    """||after - T_t before|| / ||before about its mean||, [n], for t in parts of a cell.

    T_t is the circular shift of the band-limited signal through the cells. So a map whose
    frequencies all lie below half a cycle a cell, and were not mixed by the sampling, moves along
    by parts of cells without an error; what does not is aliased.

    Args:
        after, before: maps [n, C, h, w] of the shifted and of the clean images.
        parts: t = s / stride, (rows, columns) in cells; whole ones give `aligned_error`.
    """
    if all(float(one).is_integer() for one in parts):
        return aligned_error(after, before, (int(parts[0]), int(parts[1])))
    there = fourier_shifted(before.double(), *parts)
    squares = (after.double() - there).square().sum(dim=(1, 2, 3))
    return _ratio(squares, _energy(before))


def best_roll(after: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest aligned error over all circular rolls, [n], and the roll, int64 [n, 2].

    All h x w rolls are compared at once by a cross-correlation (||a - T_t b||^2 differs from roll
    to roll by twice <a, T_t b> alone); the error at the best is then computed directly, so that
    an exact one is exactly zero. Rolls are given nearest to no roll: -h/2 < t <= h/2.
    """
    height, width = before.shape[2:]
    centred = [x.double() - x.double().mean(dim=(2, 3), keepdim=True) for x in (after, before)]
    a, b = (torch.fft.rfft2(x) for x in centred)
    product = torch.fft.irfft2((a * b.conj()).sum(dim=1), s=(height, width))
    place = product.flatten(1).argmax(dim=1)
    index = torch.stack([place // width, place % width], dim=1)
    error = torch.cat(
        [
            aligned_error(after[i : i + 1], before[i : i + 1], (int(t[0]), int(t[1])))
            for i, t in enumerate(index.tolist())
        ]
    )
    size = torch.tensor([height, width], device=index.device)
    return error, torch.where(2 * index > size, index - size, index)


def best_roll_near(
    after: Tensor, before: Tensor, expected: tuple[float, float], seen: Tensor, stays: Tensor
) -> tuple[Tensor, Tensor]:
    """The same where borders are no neighbours: over the rolls next to the expected one.

    Each roll is judged on the cells that see real pixels before and after it.

    Args:
        expected: s / stride, cells; every whole roll less than 1.5 away is tried.
        seen: bool [h, w], cells after the shift that see no synthetic pixel.
        stays: bool [h, w], cells before it that see no pixel that leaves the frame.
    """
    best = torch.full((len(after),), torch.nan, dtype=torch.float64, device=after.device)
    roll = torch.zeros(len(after), 2, dtype=torch.int64, device=after.device)
    for one in _near(expected):
        kept = seen & moved(stays, one) & inside(one, before.shape[2:], before.device)
        error = aligned_error(after, before, one, kept)
        better = (error < best) | best.isnan() & ~error.isnan()
        best = torch.where(better, error, best)
        roll[better] = torch.tensor(one, device=after.device)
    return best, roll


def _near(expected: tuple[float, float]) -> list[Roll]:
    rows, columns = (
        [t for t in range(math.floor(e) - 1, math.ceil(e) + 2) if abs(t - e) < 1.5]
        for e in expected
    )
    return [(row, column) for row in rows for column in columns]


def share_changed(
    after: Tensor, before: Tensor, concerned: Tensor, tolerance: float = 0.0
) -> Tensor:
    """Share of the concerned values that changed where they stand, [n]; NaN where there is none.

    Args:
        concerned: bool like the maps: values whose input changed, and whose cell is compared.
        tolerance: a change counts above this share of the largest value of the image's layer.
    """
    change = (after.double() - before.double()).abs().flatten(1)
    largest = before.double().abs().flatten(1).amax(dim=1, keepdim=True)
    changed = (change > tolerance * largest) & concerned.flatten(1)
    return changed.sum(dim=1) / concerned.flatten(1).sum(dim=1)


def vector_error(after: Tensor, before: Tensor, mean: Tensor) -> Tensor:
    """||f(T_s x) - f(x)|| / ||f(x) - mean||, [n]; ``mean`` is that of f over all images, [d]."""
    about = (before.double() - mean).norm(dim=1)
    flat = about <= FLAT * before.double().norm(dim=1)
    error: Tensor = (after.double() - before.double()).norm(dim=1) / about
    return error.masked_fill(flat, torch.nan)


def cosine_distance(after: Tensor, before: Tensor) -> Tensor:
    """1 - cos(f(T_s x), f(x)), [n], 0 to 2; NaN where one of them is zero."""
    a, b = after.double(), before.double()
    a, b = (x / x.norm(dim=1, keepdim=True) for x in (a, b))
    distance: Tensor = (a - b).square().sum(dim=1) / 2  # exact near zero, unlike 1 - a.b
    return distance
