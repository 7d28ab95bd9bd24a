"""Average pooling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from robustlab.pooling.window import Window

__all__ = ["Average"]


@dataclass(frozen=True)
class Average(Window):
    """The mean of a window, as `torch.nn.AvgPool2d` with ``count_include_pad=False``."""

    name: ClassVar[str] = "avg"

    def over(self, values: Tensor, seen: Tensor | None) -> Tensor:
        if seen is None:
            return values.mean(0)
        return (values * seen).sum(0) / seen.sum(0)
