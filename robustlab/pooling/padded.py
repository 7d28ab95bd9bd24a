"""An average in which padding counts, as torch's counts it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from robustlab.pooling.geometry import Pair, extended, windows
from robustlab.pooling.window import Window

__all__ = ["PaddedAverage"]


@dataclass(frozen=True)
class PaddedAverage(Window):
    """The sum of a window over a number: `torch.nn.AvgPool2d` with ``count_include_pad`` or with
    ``divisor_override``.

    Args:
        counted: zeros past each edge that count as values (rows, columns); where windows hang over
            by more, the rest does not.
        divisor: the number, if it is not the values counted.
    """

    name: ClassVar[str] = "avg"
    counted: Pair = (0, 0)
    divisor: int = 0

    def __call__(self, x: Tensor, rows: Pair, columns: Pair, padding: str, **grid: Any) -> Tensor:
        lie = (grid["kernel"], grid["stride"], grid["dilation"], grid["count"])
        total = windows(extended(x, rows, columns, padding), *lie).sum(0)
        if self.divisor:
            return total.div(self.divisor)
        ones = torch.ones_like(x[:1, :1])
        if padding != "zero":
            return total.div(grid["kernel"][0] * grid["kernel"][1])
        high, wide = self.counted
        ones = extended(ones, (high, high), (wide, wide), "zero", fill=1.0)
        over = [(before - c, after - c) for (before, after), c in ((rows, high), (columns, wide))]
        return total / windows(extended(ones, over[0], over[1], "zero"), *lie).sum(0)
