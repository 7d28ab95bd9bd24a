"""Lp balls: steepest ascent steps, projections, random points and distances, a class a norm.

All tensors are batches [n, C, H, W]; a perturbation is ``delta = x_adv - x``. Clipping to the box
[0, 1] comes after the projection: since x is inside the box it can only shrink every |delta_i|, so
the budget still holds. A radius ``eps`` is a number, or a column [n, 1, 1, 1] where each image has
its own.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from robustlab.randomness import SampleRandom

__all__ = [
    "GEOMETRIES",
    "Geometry",
    "Radius",
    "column",
    "distance",
    "largest_pixels",
    "nearest_l0_in_box",
    "project_l1_in_box",
]

Radius = float | Tensor

_TINY = 1e-12  # keeps a zero gradient from dividing by zero; it then gives a zero step


class Geometry(Protocol):
    """What the gradient search needs to know of a norm."""

    def ascent(self, gradient: Tensor, x: Tensor) -> Tensor:
        """Direction of unit norm that raises a linear loss fastest, from iterate ``x``; in L0,
        where length counts for nothing, the gradient at an L1 norm of one.
        """

    def project(self, delta: Tensor, eps: Radius) -> Tensor:
        """Closest (Euclidean) perturbation of norm at most ``eps``."""

    def random(self, x: Tensor, eps: Radius, random: SampleRandom) -> Tensor:
        """A perturbation drawn uniformly from the ball, before clipping to the box."""


def column(values: Tensor, like: Tensor) -> Tensor:
    """[n] -> [n, 1, 1, 1] for products with a batch."""
    return values.view(-1, *([1] * (like.dim() - 1)))


def _drawn(values: object, like: Tensor) -> Tensor:
    return torch.as_tensor(values, dtype=like.dtype, device=like.device)


def _like(radius: Radius, like: Tensor) -> Tensor:
    return torch.as_tensor(radius, dtype=like.dtype, device=like.device)


class Linf:
    """Sign steps, clipping (Kurakin et al. 2017; Madry et al. 2018)."""

    def ascent(self, gradient: Tensor, x: Tensor) -> Tensor:
        return gradient.sign()

    def project(self, delta: Tensor, eps: Radius) -> Tensor:
        return torch.minimum(torch.maximum(delta, _like(-eps, delta)), _like(eps, delta))

    def random(self, x: Tensor, eps: Radius, random: SampleRandom) -> Tensor:
        return _drawn(random.uniform(x.shape[1:], -1.0, 1.0), x) * eps


class L2:
    """Normalised gradient steps, radial projection (Madry et al. 2018)."""

    def ascent(self, gradient: Tensor, x: Tensor) -> Tensor:
        norms = gradient.flatten(1).norm(dim=1).clamp_min(_TINY)
        return gradient / column(norms, gradient)

    def project(self, delta: Tensor, eps: Radius) -> Tensor:
        norms = column(delta.flatten(1).norm(dim=1).clamp_min(_TINY), delta)
        return delta * (eps / norms).clamp_max(1.0)

    def random(self, x: Tensor, eps: Radius, random: SampleRandom) -> Tensor:
        """A Gaussian direction at radius u^(1/d), u uniform: uniform in the ball."""
        direction = _drawn(random.normal(x.shape[1:]), x)
        radius = _drawn(random.uniform(()), x) ** (1.0 / x[0].numel())
        norms = direction.flatten(1).norm(dim=1).clamp_min(_TINY)
        return direction * column(radius / norms, direction) * eps


class L1:
    """Sparse steps on the largest coordinates, projection by sorting.

    The step moves the 1 % of coordinates with the largest gradient, leaving out those that the box
    stops (sparse L1 descent: Tramer and Boneh 2019, section 4); the projection is Duchi et al.
    (2008), figure 1.
    """

    quantile = 0.99

    def ascent(self, gradient: Tensor, x: Tensor) -> Tensor:
        stopped = ((x <= 0) & (gradient < 0)) | ((x >= 1) & (gradient > 0))
        size = gradient.masked_fill(stopped, 0.0).abs()
        threshold = size.flatten(1).quantile(self.quantile, dim=1)
        step = torch.where(
            (size >= column(threshold, size)) & ~stopped, gradient.sign(), torch.zeros_like(size)
        )
        return step / column(step.flatten(1).abs().sum(dim=1).clamp_min(_TINY), step)

    def project(self, delta: Tensor, eps: Radius) -> Tensor:
        flat = delta.flatten(1)
        eps = eps.flatten(1) if isinstance(eps, Tensor) else eps
        size = flat.abs()
        outside = size.sum(dim=1, keepdim=True) > eps
        ordered = size.sort(dim=1, descending=True).values
        excess = ordered.cumsum(dim=1) - eps
        count = torch.arange(1, flat.shape[1] + 1, device=flat.device, dtype=flat.dtype)
        # The last index where the condition holds; it holds at the first for any point outside.
        last = ((ordered * count > excess) * count).amax(dim=1, keepdim=True).clamp_min(1).long()
        threshold = excess.gather(1, last - 1) / last
        shrunk = flat.sign() * (size - threshold).clamp_min(0.0)
        return torch.where(outside, shrunk, flat).view_as(delta)

    def random(self, x: Tensor, eps: Radius, random: SampleRandom) -> Tensor:
        """Spacings of exponentials with random signs: uniform in the ball (Barthe et al. 2005)."""
        size = _drawn(random.exponential(x.shape[1:]), x)
        spare = _drawn(random.exponential(()), x)
        signs = _drawn(random.uniform(x.shape[1:], -1.0, 1.0), x).sign()
        total = size.flatten(1).sum(dim=1) + spare
        return signs * size / column(total, size) * eps


class L0:
    """Whole pixels: a position counts once, however many of its channels change, and however far.

    What does not count as changed is bitwise equal to the clean pixel. Steps follow the gradient;
    the projection keeps the positions of largest change (Croce and Hein 2019, section 4).
    """

    def ascent(self, gradient: Tensor, x: Tensor) -> Tensor:
        size = gradient.flatten(1).abs().sum(dim=1).clamp_min(_TINY)
        return gradient / column(size, gradient)

    def project(self, delta: Tensor, eps: Radius) -> Tensor:
        kept = largest_pixels(delta.square().sum(dim=1), eps)
        return torch.where(kept, delta, torch.zeros_like(delta))

    def random(self, x: Tensor, eps: Radius, random: SampleRandom) -> Tensor:
        """Positions drawn without replacement, each colour uniform in the box."""
        chosen = largest_pixels(_drawn(random.uniform(x.shape[2:]), x), eps)
        colours = _drawn(random.uniform(x.shape[1:]), x)
        return torch.where(chosen, colours - x, torch.zeros_like(x))


def largest_pixels(worth: Tensor, eps: Radius) -> Tensor:
    """The ``floor(eps)`` positions of largest worth an image, bool [n, 1, H, W].

    Args:
        worth: [n, H, W]; of equal ones the first in reading order is taken.
    """
    flat = worth.flatten(1)
    order = flat.argsort(dim=1, descending=True, stable=True)
    place = torch.arange(flat.shape[1], device=flat.device).expand_as(order)
    rank = torch.empty_like(order).scatter_(1, order, place)
    most = eps.flatten(1) if isinstance(eps, Tensor) else eps
    return (rank + 1 <= most).view(len(worth), 1, *worth.shape[1:])


def nearest_l0_in_box(x_adv: Tensor, x: Tensor, eps: Radius) -> Tensor:
    """The image in [0, 1] nearest to ``x_adv`` that differs from ``x`` in ``floor(eps)`` pixels.

    Taking a position into the ball brings the squared distance to ``x_adv`` down from that of the
    clean pixel to that of the clipped one; the positions where it falls most are taken. Of steps so
    long that clipping decides all, those are the positions that a linear loss gains most from.
    """
    inside = x_adv.clamp(0.0, 1.0)
    room, delta = inside - x, x_adv - x
    kept = largest_pixels((room * (2.0 * delta - room)).sum(dim=1), eps)
    return torch.where(kept, inside, x)


def project_l1_in_box(delta: Tensor, x: Tensor, eps: Radius) -> Tensor:
    """Closest perturbation with L1 norm at most ``eps`` and ``x + delta`` in [0, 1], exactly.

    The box lets coordinate i move by at most ``room_i`` in the direction of ``delta_i``, and the
    dual variable takes the same amount t from all: ``min(max(|delta_i| - t, 0), room_i)``. Their
    sum falls with t in straight pieces, with corners at ``|delta_i|`` and ``|delta_i| - room_i``;
    sorting the corners finds the t at which it is eps (problem of Croce and Hein 2021, section 3).
    """
    flat, clean = delta.flatten(1).double(), x.flatten(1).double()
    size = flat.abs()
    room = torch.where(flat > 0, 1.0 - clean, clean)
    radius = eps.flatten(1).double() if isinstance(eps, Tensor) else eps
    starts = (size - room).clamp_min(0.0)  # where a coordinate begins to fall
    corners = torch.cat([starts, size], dim=1)
    slopes = torch.cat([torch.ones_like(size), -torch.ones_like(size)], dim=1)
    corners, order = corners.sort(dim=1)
    falling = slopes.gather(1, order).cumsum(dim=1)
    gaps = torch.diff(corners, dim=1, prepend=torch.zeros_like(corners[:, :1]))
    before = torch.cat([torch.zeros_like(falling[:, :1]), falling[:, :-1]], dim=1)
    whole = torch.minimum(size, room).sum(dim=1, keepdim=True)
    sums = whole - (before * gaps).cumsum(dim=1)  # at each corner
    last = (sums > radius).sum(dim=1, keepdim=True).clamp(1, corners.shape[1]) - 1
    excess = sums.gather(1, last) - radius
    share = corners.gather(1, last) + excess / falling.gather(1, last).clamp_min(1.0)
    taken = torch.where(whole > radius, share, torch.zeros_like(share))
    moved = torch.minimum((size - taken).clamp_min(0.0), room)
    return (flat.sign() * moved).view_as(delta).to(delta.dtype)


GEOMETRIES: dict[str, Geometry] = {"linf": Linf(), "l2": L2(), "l1": L1(), "l0": L0()}


def distance(x_adv: Tensor, x: Tensor, norm: str) -> Tensor:
    """Norm of ``x_adv - x`` an image, shape [n], subtracted and summed in float64.

    In L0 the number of pixel positions where any channel differs, by however little.
    """
    delta = x_adv.double() - x.double()
    if norm == "l0":
        return (delta != 0).any(dim=1).flatten(1).sum(dim=1).double()
    flat = delta.flatten(1)
    if norm == "linf":
        return flat.abs().amax(dim=1)
    return flat.norm(dim=1) if norm == "l2" else flat.abs().sum(dim=1)
