"""Dense sampling: nothing is left out, the costly control (a trous, Holschneider et al. 1989)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from robustlab.pooling.geometry import Pair
from robustlab.pooling.strided import Sampler

__all__ = ["Every"]


@dataclass(frozen=True)
class Every(Sampler):
    """Keeps all values; the layers behind it spread their windows by the stride instead.

    Each of the stride x stride grids that a sampler could keep is then computed, side by side in
    one map, as the strided network would compute it. Maps stay as large as they were, and so does
    the cost; a global head takes the mean (or maximum) over all the grids.
    """

    name: ClassVar[str] = "dense"
    exact: ClassVar[bool] = True

    def __call__(self, x: Tensor, stride: Pair, padding: str) -> Tensor:
        return x
