"""Lp pooling: from the sum of a window (p = 1) to its maximum (p infinite)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from robustlab.errors import BadRequest
from robustlab.pooling.window import Window

__all__ = ["Lp"]


@dataclass(frozen=True)
class Lp(Window):
    """(sum of |x|^p)^(1/p) over a window: a sum, not a mean, as `torch.nn.LPPool2d`.

    Sermanet, Chintala and LeCun 2012. Ones in a 2x2 window give 4 for p = 1 and 1 for p infinite.
    The largest magnitude is taken out before the power, so that nothing overflows.

    Args:
        power: p, at least 1; ``math.inf`` for the largest magnitude.

    Raises:
        BadRequest: a power below 1.
    """

    name: ClassVar[str] = "lp"
    power: float = 2.0

    def __post_init__(self) -> None:
        if not self.power >= 1:
            raise BadRequest(f"Lp pooling needs p of at least 1, not {self.power}; write lp2")

    def over(self, values: Tensor, seen: Tensor | None) -> Tensor:
        sizes = (values if seen is None else values * seen).abs()
        largest = sizes.amax(0)
        if math.isinf(self.power):
            return largest
        # Where all is zero the root has no finite slope: one stands in, and zero comes back out.
        scale = largest.masked_fill(largest == 0, 1.0).detach()
        shares = ((sizes / scale) ** self.power).sum(0)
        root = shares.masked_fill(largest == 0, 1.0) ** (1 / self.power)
        return scale * root.masked_fill(largest == 0, 0.0)
