"""Heads: what stands between the last maps and the classifier."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustlab.errors import BadRequest, choices
from robustlab.pooling.geometry import Pair

__all__ = ["HEADS", "Everywhere", "GlobalPool"]

HEADS = ("flatten", "gap", "gmp", "gem")


class GlobalPool(nn.Module):
    """One number a map: [n, C, H, W] to [n, C, 1, 1], the same wherever in the map a value stands.

    Args:
        kind: ``"gap"`` (mean), ``"gmp"`` (maximum), or ``"gem"``: the generalised mean
            (mean of x^p)^(1/p) of values above ``least`` (Radenovic, Tolias and Chum 2018, eq. 3).
        keep: whether the two axes of size 1 stay.
        power: p of the generalised mean: 1 is the mean, infinity the maximum; it is not learned.

    Raises:
        BadRequest: an unknown kind, or a power below 1.
    """

    least = 1e-6

    def __init__(self, kind: str, *, keep: bool = True, power: float = 3.0) -> None:
        super().__init__()
        if kind not in HEADS[1:]:
            raise BadRequest(f"unknown global pooling {kind!r}{choices(kind, HEADS[1:])}")
        if not power >= 1:
            raise BadRequest(f"the power of a generalised mean is at least 1, not {power}")
        self.kind = kind
        self.keep = keep
        self.power = power

    def forward(self, x: Tensor) -> Tensor:
        pooled = self._pooled(x)
        return pooled if self.keep else pooled.flatten(1)

    def _pooled(self, x: Tensor) -> Tensor:
        if self.kind == "gap":
            return x.mean((-2, -1), keepdim=True)
        if self.kind == "gmp":
            return x.amax((-2, -1), keepdim=True)
        positive = x.clamp_min(self.least)
        largest = positive.amax((-2, -1), keepdim=True)
        shares = torch.pow(positive / largest, self.power).mean((-2, -1), keepdim=True)
        return largest * shares ** (1 / self.power)

    def extra_repr(self) -> str:
        return self.kind + (f", power={self.power:g}" if self.kind == "gem" else "")


class Everywhere(GlobalPool):
    """A global pooling whose one number a map stands at every place: [n, C, H, W] to
    [n, C, *size].

    Before a flatten head it makes a classifier that kept its weights blind to place: each weight of
    a map then counts for the mean of those of all places.

    Args:
        kind: as of `GlobalPool`.
        size: (rows, columns) that the classifier expects.
    """

    def __init__(self, kind: str, size: Pair) -> None:
        super().__init__(kind)
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return self._pooled(x).expand(*x.shape[:2], *self.size)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, size={self.size}"
