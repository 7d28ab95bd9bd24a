"""Median pooling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from robustlab.pooling.window import Window

__all__ = ["Median"]


@dataclass(frozen=True)
class Median(Window):
    """The median of a window; of an even number of values the lower of the two in the middle."""

    name: ClassVar[str] = "median"

    def over(self, values: Tensor, seen: Tensor | None) -> Tensor:
        if seen is None:
            return values.median(0).values
        middle = values.masked_fill(~seen, math.nan).nanmedian(0).values
        # NaN stands for "past the edge" above; one that is seen must come out, as of any window.
        return middle.masked_fill((values.isnan() & seen).any(0), math.nan)
