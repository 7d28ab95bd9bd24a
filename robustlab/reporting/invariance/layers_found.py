"""What the probe `equivariance` found on one backbone, as the page asks for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab import statistics
from robustlab.results import Group
from robustlab.statistics import Rate

__all__ = ["Found", "Shift", "found_in", "share", "shift_name", "size"]

Array = NDArray[Any]
Shift = tuple[float, float]

EXACT = 1e-6  # an error below this is what float32 leaves of none
MINIMUM = 1e-5  # what a logarithmic axis shows of less


@dataclass(frozen=True)
class Found:
    """Arrays of one backbone: [m, shifts, layers] a measure of the m images measured, between
    unrelated images too.

    Means over images have bootstrap intervals over images; of an image its shifts are not
    averaged: each shift is a number of its own.
    """

    backbone: str
    label: str
    mode: str
    arrays: dict[str, Array]
    n: int  # images measured
    notes: tuple[str, ...]

    @cached_property
    def names(self) -> list[str]:
        return [str(x) for x in self.arrays["layers"]]

    @cached_property
    def modules(self) -> list[str]:
        return [str(x) for x in self.arrays["modules"]]

    @cached_property
    def shapes(self) -> list[tuple[int, ...]]:
        return [tuple(int(v) for v in x) for x in self.arrays["shapes"]]

    @cached_property
    def strides(self) -> list[tuple[int, int]]:
        return [(int(a), int(b)) for a, b in self.arrays["strides"]]

    @cached_property
    def shifts(self) -> list[Shift]:
        """(dy, dx) in pixels; whole ones are ints."""
        return [(_number(a), _number(b)) for a, b in self.arrays["shifts"].tolist()]

    @property
    def shift(self) -> Shift:
        """The first shift, which the sentences are about."""
        return self.shifts[0]

    @property
    def kept(self) -> Array:
        """Share of cells compared, [shifts, layers]."""
        return self.arrays["kept_cells"]

    @cached_property
    def maps(self) -> list[int]:
        """Places of the layers that give maps."""
        return [i for i, kind in enumerate(self.arrays["kinds"]) if str(kind) == "map"]

    @property
    def logits(self) -> int:
        """Place of the last layer."""
        return len(self.names) - 1

    def mean(self, measure: str, place: int, shift: int = 0) -> Rate:
        """Mean of a measure at a layer over the images where it is defined."""
        if measure not in self.arrays:  # a run of before it was measured
            return Rate(math.nan, math.nan, math.nan, 0)
        return statistics.bootstrap_mean(self.arrays[measure][:, shift, place])

    def over_shifts(self, place: int) -> Rate:
        """The error in place at a layer as the summary has it: of each image the mean over all
        shifts that were asked for.
        """
        return statistics.bootstrap_mean(self.arrays["in_place"][:, :, place].mean(axis=1))

    def unrelated(self, measure: str, place: int, shift: int = 0) -> Rate:
        """The same between unrelated images, over the same cells and rolls; ``in_place`` or
        ``best_roll``. Each image is in two pairs, which the interval knows.
        """
        name = "unrelated_best_roll" if measure == "best_roll" else "unrelated"
        values = self.arrays[name][:, shift, place]
        if "partner" not in self.arrays:  # a run of before it was kept
            return statistics.bootstrap_mean(values)
        return statistics.mean_of_pairs(values, self.arrays["partner"])

    @property
    def kept_predictions(self) -> list[tuple[str, str]]:
        """(shift, share of images whose predicted class stays) with Wilson intervals."""
        said = self.arrays["predictions"]
        return [
            (shift_name(shift), str(statistics.rate(said[:, 1 + s] == said[:, 0])))
            for s, shift in enumerate(self.shifts)
        ]


def _number(value: float) -> float:
    return int(value) if float(value).is_integer() else value


def found_in(group: Group) -> Found | None:
    """The group's arrays; None where it holds none, or measured no image."""
    outcome = group.outcome
    if outcome is None or not len(outcome.arrays.get("measured_row", ())):
        return None
    return Found(
        group.backbone,
        group.label,
        str(group.plan["params"].get("mode", "")),
        {k: np.asarray(v) for k, v in outcome.arrays.items()},
        len(outcome.arrays["measured_row"]),
        tuple(outcome.notes),
    )


def shift_name(shift: Sequence[float]) -> str:
    """``1 pixel right``, ``2 pixels down and 0.5 left``."""
    dy, dx = shift
    parts = [
        (abs(d), (a if d > 0 else b))
        for d, a, b in ((dy, "down", "up"), (dx, "right", "left"))
        if d
    ]
    first, *rest = parts
    text = f"{first[0]:g} {'pixel' if first[0] <= 1 else 'pixels'} {first[1]}"
    return text + "".join(f" and {many:g} {where}" for many, where in rest)


def size(found: Rate) -> str:
    """An error with its interval; below rounding it is ``0``."""
    if found.n == 0:
        return "not measured"
    if found.value < EXACT:
        return "0 (exact)" if found.value == 0 else "0 (rounding)"
    value, low, high = (_digits(v) for v in (found.value, found.low, found.high))
    return value if math.isnan(found.low) else f"{value} [{low}, {high}]"


def _digits(value: float) -> str:
    return f"{value:.3f}" if value >= 0.01 else f"{value:.1e}"


def share(found: Rate) -> str:
    """A mean share in per cent. Where all images agree a bootstrap has no width, and says so."""
    if found.n > 1 and found.low == found.high:
        return f"{100 * found.value:.1f} % in all {found.n}"
    if math.isnan(found.low):
        return f"{100 * found.value:.1f} %"
    return f"{100 * found.value:.1f} % [{100 * found.low:z.1f}, {100 * found.high:z.1f}]"
