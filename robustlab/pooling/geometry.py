"""Where the windows of a site lie, and what they see past the edge of a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from robustlab.errors import BadRequest, choices

__all__ = ["PADDINGS", "Geometry", "check_padding", "extended", "pair", "windows"]

PADDINGS = ("zero", "reflect", "replicate", "circular")
Pair = tuple[int, int]


def pair(value: int | Sequence[int]) -> Pair:
    """(rows, columns) of one number or of two."""
    if isinstance(value, int):
        return value, value
    numbers = [int(one) for one in value]
    return numbers[0], numbers[-1]


def check_padding(padding: str) -> None:
    """`BadRequest` with the nearest unless it is one of `PADDINGS`."""
    if padding not in PADDINGS:
        raise BadRequest(f"unknown padding {padding!r}{choices(str(padding), PADDINGS)}")


@dataclass(frozen=True)
class Geometry:
    """Windows over a map, as torch's pools and convolutions place them.

    Window i of a row of n values begins at ``i * stride - padding`` and sees every
    ``dilation``-th value from there. All are (rows, columns).

    Attributes:
        ceil: whether a last window may hang over, as ``ceil_mode`` of torch's pools.
        spread: on a dense map, in which so many grids lie side by side, what takes the place of
            each step by one; all sizes are those of one grid.
    """

    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    ceil: bool = False
    spread: Pair = (1, 1)

    @property
    def steps(self) -> Pair:
        """From one value of a window to its next, on the dense map."""
        return self.dilation[0] * self.spread[0], self.dilation[1] * self.spread[1]

    def reach(self, axis: int) -> int:
        """How many values a window spans."""
        return self.dilation[axis] * (self.kernel[axis] - 1) + 1

    def out(self, size: int, axis: int) -> int:
        """Number of windows over ``size`` values: torch's rule for pools and convolutions."""
        stride, padding = self.stride[axis], self.padding[axis]
        room = size + 2 * padding - self.reach(axis)
        if room < 0 and not (self.ceil and room > -stride):
            raise RuntimeError(f"no window of {self.reach(axis)} fits into {size} values")
        count = 1 + (-(-room // stride) if self.ceil else room // stride)
        # torch drops a last window that would begin behind the map and its padding on the left.
        return count - 1 if self.ceil and (count - 1) * stride >= size + padding else count

    def fits(self, size: int, axis: int) -> bool:
        """Whether the map divides into the strides: then shifts by one stride move the outputs by
        one, all the way round.
        """
        return self.out(size, axis) * self.stride[axis] == size


def extended(x: Tensor, rows: Pair, columns: Pair, padding: str, fill: float = 0.0) -> Tensor:
    """The map with so many values more: (above, below), (left, right). Negative ones cut it.

    Args:
        padding: one of `PADDINGS`; ``fill`` stands past the edge where it is zero.

    Raises:
        BadRequest: reflect needs more values than the map has, or circular more than a turn.
    """
    x = x[..., max(0, -rows[0]) : x.shape[-2] - max(0, -rows[1]), :]
    x = x[..., max(0, -columns[0]) : x.shape[-1] - max(0, -columns[1])]
    around = [max(0, one) for one in (*columns, *rows)]
    if not any(around):
        return x
    if padding == "zero":
        return functional.pad(x, around, value=fill)
    if padding != "replicate":
        room = [x.shape[-1], x.shape[-1], x.shape[-2], x.shape[-2]]
        least = [one + (padding == "reflect") for one in around]
        if any(need > have for need, have in zip(least, room, strict=True)):
            raise BadRequest(
                f"{padding} padding of {max(around)} needs maps of at least {max(least)} values, "
                f"one has {x.shape[-2]}x{x.shape[-1]}; take padding 'replicate' or larger images"
            )
    return functional.pad(x, around, mode=padding)


def windows(x: Tensor, kernel: Pair, stride: Pair, dilation: Pair, count: Pair) -> Tensor:
    """What each window sees, [kernel, n, C, count, count] of [n, C, H, W], row by row."""
    found = []
    for row in range(kernel[0]):
        top = row * dilation[0]
        for column in range(kernel[1]):
            left = column * dilation[1]
            rows = slice(top, top + (count[0] - 1) * stride[0] + 1, stride[0])
            columns = slice(left, left + (count[1] - 1) * stride[1] + 1, stride[1])
            found.append(x[..., rows, columns])
    return torch.stack(found)
