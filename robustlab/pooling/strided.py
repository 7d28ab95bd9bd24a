"""Plain sub-sampling: every stride-th value of a map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from robustlab.errors import BadRequest
from robustlab.pooling.geometry import Pair, extended
from robustlab.pooling.window import Window

__all__ = ["Middle", "Sampler", "Strided"]


@dataclass(frozen=True)
class Sampler:
    """Takes [n, C, T * stride] to [n, C, T] in both directions: what thins a dense map out."""

    name: ClassVar[str] = ""
    # Whether only a map that divides into its strides will do.
    exact: ClassVar[bool] = False

    def __call__(self, x: Tensor, stride: Pair, padding: str) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class Strided(Sampler):
    """Keeps the first of every ``stride`` values and looks at no neighbour.

    Behind a dense max, average or convolution this is the plain strided one.
    """

    name: ClassVar[str] = "strided"

    def __call__(self, x: Tensor, stride: Pair, padding: str) -> Tensor:
        return x[..., :: stride[0], :: stride[1]]


@dataclass(frozen=True)
class Middle(Window):
    """The value in the middle of a window (of an even one left of and above it): no pooling at all.

    Raises:
        BadRequest: a middle lies past the edge, where the padding is zero.
    """

    name: ClassVar[str] = "middle"

    def __call__(self, x: Tensor, rows: Pair, columns: Pair, padding: str, **grid: Any) -> Tensor:
        found = extended(x, rows, columns, padding)
        for axis, edge in ((-2, rows), (-1, columns)):
            size, step = grid["count"][axis], grid["stride"][axis]
            first = grid["dilation"][axis] * ((grid["kernel"][axis] - 1) // 2)
            last = first + (size - 1) * step
            if padding == "zero" and not edge[0] <= first <= last < edge[0] + x.shape[axis]:
                raise BadRequest(
                    f"the middle of a window of {grid['kernel'][axis]} lies past the edge of "
                    f"{x.shape[axis]} values; take another padding"
                )
            found = found.narrow(axis, first, last - first + 1)
        return found[..., :: grid["stride"][0], :: grid["stride"][1]]
