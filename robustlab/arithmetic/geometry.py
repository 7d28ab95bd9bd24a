"""Output sizes by (W - F + 2P) / S + 1, and what is left over where that is no whole number."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

__all__ = ["Geometry", "Pair"]

Pair = tuple[int, int]


@dataclass(frozen=True)
class Geometry:
    """The windows of one convolution or pooling over a map; pairs are (rows, columns).

    Attributes:
        size, out: of the map below and of the map made.
        ceil: whether a last window may hang over the edge; else what is left over is dropped.
        transposed: of a transposed convolution, whose sizes go the other way: it always fits.
    """

    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    size: Pair
    out: Pair
    groups: int = 1
    ceil: bool = False
    transposed: bool = False

    def exact(self, axis: int) -> Fraction:
        """(W - F + 2P) / S + 1 with F the span of a dilated kernel; of a transposed one
        (W - 1) S - 2P + F."""
        reach = self.dilation[axis] * (self.kernel[axis] - 1) + 1
        if self.transposed:
            shrunk = (self.size[axis] - 1) * self.stride[axis] - 2 * self.padding[axis] + reach
            return Fraction(shrunk)
        room = self.size[axis] - reach + 2 * self.padding[axis]
        return Fraction(room, self.stride[axis]) + 1

    @property
    def fits(self) -> bool:
        """Whether both sizes come out whole."""
        return all(self.exact(axis).denominator == 1 for axis in (0, 1))

    @property
    def rounding(self) -> str:
        """``exact``, ``floor`` or ``ceil``."""
        return "exact" if self.fits else "ceil" if self.ceil else "floor"

    def dropped(self, axis: int) -> int:
        """Rows or columns of the map, padding not counted, that lie behind the last window."""
        if self.transposed:
            return 0
        reach = self.dilation[axis] * (self.kernel[axis] - 1) + 1
        last = (self.out[axis] - 1) * self.stride[axis] - self.padding[axis] + reach
        return max(0, self.size[axis] - last)

    def overhang(self, axis: int) -> int:
        """Rows or columns by which the last window hangs over map and padding."""
        if self.transposed:
            return 0
        reach = self.dilation[axis] * (self.kernel[axis] - 1) + 1
        end = (self.out[axis] - 1) * self.stride[axis] - self.padding[axis] + reach
        return max(0, end - self.size[axis] - self.padding[axis])

    def skipped(self, axis: int) -> int:
        """Rows or columns between one window and the next that no window looks at."""
        if self.transposed or self.out[axis] < 2:
            return 0
        seen = {k * self.dilation[axis] % self.stride[axis] for k in range(self.kernel[axis])}
        return self.stride[axis] - len(seen)
