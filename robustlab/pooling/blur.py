"""Blur before sub-sampling (Zhang 2019): a binomial filter, then every stride-th value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from robustlab.errors import BadRequest
from robustlab.pooling.geometry import Pair, extended
from robustlab.pooling.strided import Sampler

__all__ = ["Blur", "blurred"]


def blurred(x: Tensor, taps: int, padding: str, axis: int) -> Tensor:
    """A binomial filter along one axis, -1 or -2; the size is kept.

    ``taps`` of 3 is [1, 2, 1] / 4. The filter is the mean of neighbours, taken ``taps - 1`` times:
    no kernel is stored, and its weights, whole numbers over a power of two, are exact in any
    precision. Of an even filter the middle lies half a value to the right.
    """
    if padding == "reflect" and x.shape[axis] == 1:  # one value mirrored is that value
        padding = "replicate"
    before, after = (taps - 1) // 2, taps // 2
    rows, columns = ((before, after), (0, 0))[:: 1 if axis == -2 else -1]
    x = extended(x, rows, columns, padding)
    for _ in range(taps - 1):
        size = x.shape[axis]
        x = (x.narrow(axis, 0, size - 1) + x.narrow(axis, 1, size - 1)) / 2
    return x


@dataclass(frozen=True)
class Blur(Sampler):
    """A binomial low-pass filter of ``taps`` values each way, then every stride-th value.

    Zhang 2019, "Making convolutional networks shift-invariant again". Behind a dense max it is
    max-blur pooling; two taps are the average of two. Along an axis of stride 1 nothing is blurred,
    for nothing is left out.

    Args:
        taps: 2 to 7.

    Raises:
        BadRequest: another number of taps.
    """

    name: ClassVar[str] = "blur"
    taps: int = 3

    def __post_init__(self) -> None:
        if not isinstance(self.taps, int) or not 2 <= self.taps <= 7:
            raise BadRequest(f"a blur has 2 to 7 taps, not {self.taps!r}; write blur3 or blur5")

    def __call__(self, x: Tensor, stride: Pair, padding: str) -> Tensor:
        if stride[0] > 1:
            x = blurred(x, self.taps, padding, -2)[..., :: stride[0], :]
        if stride[1] > 1:
            x = blurred(x, self.taps, padding, -1)[..., :: stride[1]]
        return x
