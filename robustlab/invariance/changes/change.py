"""What the lab knows of a change: how it is done, its unit, its range and its usual levels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from robustlab.errors import BadRequest

__all__ = ["Change"]


@dataclass(frozen=True)
class Change:
    """One change of images.

    Attributes:
        apply: ``(images [n, C, H, W] in [0, 1], severity, SampleRandom) -> images``; with a keyword
            ``padding`` where ``fills``.
        unit: of the severity.
        levels: the usual severities, ascending, 0 among them.
        range: the smallest and the largest severity that means something.
        what: what is done to an image, as a clause after "the image is".
        fills: whether it looks outside the image.
        whole: whether only whole severities mean something.
    """

    apply: Callable[..., Tensor]
    unit: str
    levels: tuple[float, ...]
    range: tuple[float, float]
    what: str
    fills: bool = False
    whole: bool = False

    def check(self, name: str, severity: float) -> None:
        """Refuse a severity outside the range, told with the range."""
        low, high = self.range
        if not (math.isfinite(severity) and low <= severity <= high):
            raise BadRequest(
                f"{name} has severities from {low:g} to {high:g} ({self.unit}), not {severity!r}"
            )
        if self.whole and severity != int(severity):
            raise BadRequest(f"{name} counts {self.unit}; give a whole number, not {severity!r}")

    def settled(self, name: str, levels: Sequence[float]) -> tuple[float, ...]:
        """``levels`` ascending with 0 among them, or the usual ones where none are given.

        Raises:
            BadRequest: a level outside the range, or given twice.
        """
        asked = [float(level) + 0.0 for level in levels or self.levels]  # -0.0 is 0.0
        for level in asked:
            self.check(name, level)
            if asked.count(level) > 1:
                raise BadRequest(f"{name}: the level {level:g} is given twice; leave one out")
        return tuple(sorted({0.0, *asked}))
