"""Log-sum-exp pooling: a maximum with soft edges."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustlab.errors import BadRequest
from robustlab.pooling.window import Window

__all__ = ["LogSumExp"]


@dataclass(frozen=True)
class LogSumExp(Window):
    """log(mean of exp(r x)) / r over a window: the mean for small r, the maximum for large.

    Pinheiro and Collobert 2015, equation 6.

    Args:
        sharpness: r, above 0.

    Raises:
        BadRequest: a sharpness that is not above 0.
    """

    name: ClassVar[str] = "lse"
    sharpness: float = 10.0

    def __post_init__(self) -> None:
        if not self.sharpness > 0 or math.isinf(self.sharpness):
            raise BadRequest(
                f"log-sum-exp needs a sharpness above 0, not {self.sharpness}; write lse10"
            )

    def over(self, values: Tensor, seen: Tensor | None) -> Tensor:
        if seen is None:
            count = torch.tensor(float(len(values)), dtype=values.dtype, device=values.device)
        else:
            values = values.masked_fill(~seen, -math.inf)
            count = seen.sum(0).to(values.dtype)
        return (torch.logsumexp(self.sharpness * values, 0) - count.log()) / self.sharpness
