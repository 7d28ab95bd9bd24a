"""What is made of the values in a window: the base of max, average, Lp and the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustlab.pooling.geometry import Pair, extended, windows

__all__ = ["Window"]


@dataclass(frozen=True)
class Window:
    """A function of the values in a window, applied at every place of a map.

    What lies past the edge is not seen where the padding is zero, as max pooling never sees it: an
    average over the corner of a map is one of the values that are there.
    """

    name: ClassVar[str] = ""

    def over(self, values: Tensor, seen: Tensor | None) -> Tensor:
        """[n, C, H, W] of [k, n, C, H, W].

        Args:
            seen: bool [k, 1, 1, H, W], False where a value lies past the edge; None: all count.
        """
        raise NotImplementedError

    def __call__(
        self,
        x: Tensor,
        rows: Pair,
        columns: Pair,
        padding: str,
        *,
        kernel: Pair,
        stride: Pair,
        dilation: Pair,
        count: Pair,
        training: bool = False,
    ) -> Tensor:
        """Outputs [n, C, *count] of a map [n, C, H, W] extended by ``rows`` and ``columns``."""
        grid = (kernel, stride, dilation, count)
        values = windows(extended(x, rows, columns, padding), *grid)
        seen = None
        if padding == "zero" and max(*rows, *columns) > 0:
            inside = torch.ones_like(x[:1, :1], dtype=torch.bool)
            seen = windows(extended(inside, rows, columns, padding), *grid)
        return self.drawn(values, seen) if training else self.over(values, seen)

    def drawn(self, values: Tensor, seen: Tensor | None) -> Tensor:
        """As `over`, in train mode."""
        return self.over(values, seen)
