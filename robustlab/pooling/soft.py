"""SoftPool: a mean in which large values weigh more."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from robustlab.pooling.window import Window

__all__ = ["Soft"]


@dataclass(frozen=True)
class Soft(Window):
    """sum of e^x x over sum of e^x, of a window (Stergiou, Poppe and Kalliatakis 2021, equation 2).

    The maximum is taken out of the exponents: the plain form is not a number from x = 89 on.
    """

    name: ClassVar[str] = "soft"

    def over(self, values: Tensor, seen: Tensor | None) -> Tensor:
        scores = values if seen is None else values.masked_fill(~seen, -math.inf)
        return (scores.softmax(0) * values).sum(0)
