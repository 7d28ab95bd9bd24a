"""The axis that layers stand on: which of them are named, and in how many letters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["WIDTHS", "evenly", "factor_ticks", "layer_axis", "short"]

# A drawing's width in page pixels, letters of a layer's name, layers that are named below the axis.
WIDTHS = {"wide": (880, 22, 30), "narrow": (370, 15, 12)}


def layer_axis(axes: Axes, names: Sequence[str], kind: str) -> None:
    """Name the layers below ``axes``, upright, as many as a drawing of this kind has room for."""
    _, letters, most = WIDTHS[kind]
    named = evenly(len(names), most)
    axes.set_xticks(named, [short(names[i], letters) for i in named], rotation=90)
    axes.tick_params(axis="x", labelsize=11)
    axes.set_xlim(-0.5, len(names) - 0.5)


def evenly(many: int, most: int) -> list[int]:
    """At most ``most`` of ``many`` places, the first and the last among them."""
    return sorted(set(np.linspace(0, many - 1, min(many, most)).round().astype(int).tolist()))


def short(name: str, letters: int) -> str:
    """The two ends of a name that is too long: layers differ at either."""
    return name if len(name) <= letters else f"{name[: letters // 2 - 1]}…{name[-(letters // 2) :]}"


def factor_ticks(low: float, high: float) -> list[float]:
    """Ticks of a log axis of factors, 0.001 to 1000, coarse where there is room for two of them.

    A scale with a single tick cannot be read; of a range too narrow for any of the finer steps
    the two ends are given, in three digits.
    """
    tenths = (1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.7, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
    for steps in ((1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), tenths, np.arange(10, 100) / 10):
        marks = [float(f"{m * 10.0**k:.3g}") for k in range(-3, 3) for m in steps] + [1000.0]
        held = [m for m in marks if low <= m <= high]
        if len(held) >= 2:
            return [held[i] for i in evenly(len(held), 8)]
    return sorted({float(f"{v:.3g}") for v in (low, high)})
