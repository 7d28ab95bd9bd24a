"""Stochastic pooling: strong values are likely, not certain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustlab.pooling.window import Window

__all__ = ["Stochastic"]


@dataclass(frozen=True)
class Stochastic(Window):
    """One value of each window, drawn with a probability that grows with it (Zeiler and Fergus
    2013, equations 4 to 6).

    In train mode a value is drawn from torch's global generator, as dropout does; in eval mode the
    mean weighted by the probabilities is given, which is the same every time. Probabilities are the
    positive parts of the values over their sum, and equal where a window has none.
    """

    name: ClassVar[str] = "stochastic"

    def over(self, values: Tensor, seen: Tensor | None) -> Tensor:
        return (self._probabilities(values, seen) * values).sum(0)

    def drawn(self, values: Tensor, seen: Tensor | None) -> Tensor:
        edges = self._probabilities(values, seen).cumsum(0)
        point = torch.rand_like(edges[:1]) * edges[-1:]
        index = (edges <= point).sum(0, keepdim=True).clamp_max(len(values) - 1)
        return values.gather(0, index)[0]

    def _probabilities(self, values: Tensor, seen: Tensor | None) -> Tensor:
        inside = torch.ones_like(values) if seen is None else seen.to(values.dtype)
        positive = values.clamp_min(0) * inside
        total = positive.sum(0)
        none = total == 0
        equal = inside / inside.sum(0)
        return torch.where(none, equal, positive / total.masked_fill(none, 1.0))
