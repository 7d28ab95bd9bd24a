"""Mixed pooling: part maximum, part mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from robustlab.errors import BadRequest
from robustlab.pooling.average import Average
from robustlab.pooling.maximum import Max
from robustlab.pooling.window import Window

__all__ = ["Mixed"]


@dataclass(frozen=True)
class Mixed(Window):
    """a max + (1 - a) mean of a window, with one fixed a (Lee, Gallagher and Tu 2016, section 3.1).

    Args:
        share: a, the maximum's share, 0 to 1.

    Raises:
        BadRequest: a share outside of [0, 1].
    """

    name: ClassVar[str] = "mixed"
    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise BadRequest(f"the maximum's share of a mixed pooling is 0 to 1, not {self.share}")

    def over(self, values: Tensor, seen: Tensor | None) -> Tensor:
        largest, mean = Max().over(values, seen), Average().over(values, seen)
        return self.share * largest + (1 - self.share) * mean
