"""Max pooling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor
from torch.nn import functional

from robustlab.pooling.geometry import Pair, extended
from robustlab.pooling.window import Window

__all__ = ["Max"]


@dataclass(frozen=True)
class Max(Window):
    """The largest value of a window, as `torch.nn.MaxPool2d`."""

    name: ClassVar[str] = "max"

    def over(self, values: Tensor, seen: Tensor | None) -> Tensor:
        return (values if seen is None else values.masked_fill(~seen, -math.inf)).amax(0)

    def __call__(self, x: Tensor, rows: Pair, columns: Pair, padding: str, **grid: Any) -> Tensor:
        wide = extended(x, rows, columns, padding, fill=-math.inf)
        found = functional.max_pool2d(
            wide, grid["kernel"], grid["stride"], dilation=grid["dilation"]
        )
        return found[..., : grid["count"][0], : grid["count"][1]]
