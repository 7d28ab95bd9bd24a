"""The curves of the probe ``severity`` read back, and what can be said of them in words."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustlab import statistics
from robustlab.invariance.severity_units import UNITS
from robustlab.results import Group
from robustlab.statistics import Paired, Rate
from robustlab.verdict import code, holm

__all__ = ["Curve", "Pair", "at", "curve_of", "pairs", "said"]

_LEVEL = re.compile(r"^accuracy\[level=(?P<level>[^\]]+)\]$")


@dataclass(frozen=True)
class Curve:
    """One backbone under one change; ``correct`` [n, levels], levels ascending, 0 among them."""

    backbone: str
    label: str
    change: str
    levels: tuple[str, ...]
    correct: NDArray[np.bool_]
    p_true: NDArray[np.float64]

    @property
    def places(self) -> tuple[float, ...]:
        """The levels as numbers."""
        return tuple(map(float, self.levels))

    @property
    def rates(self) -> tuple[Rate, ...]:
        """Accuracy at each level."""
        return tuple(statistics.rate(column) for column in self.correct.T)

    @property
    def clean(self) -> Rate:
        """Accuracy at level 0."""
        return self.rates[self.places.index(0.0)]

    @property
    def worst_correct(self) -> NDArray[np.bool_]:
        """Images that are right at every level, [n]."""
        return np.asarray(self.correct.all(axis=1))

    @property
    def worst(self) -> Rate:
        """The worst case over the range, image by image."""
        return statistics.rate(self.worst_correct)

    @property
    def half(self) -> int | None:
        """The level nearest to 0 at which at most half of the clean accuracy is left; its place.

        None where it is nowhere so, or where there was no accuracy to lose.
        """
        rates, clean = self.rates, self.clean.value
        lost = [i for i, r in enumerate(rates) if self.places[i] and r.value <= clean / 2]
        return min(lost, key=lambda i: abs(self.places[i])) if lost and clean > 0 else None

    @property
    def unit(self) -> str:
        """Of the levels; nothing where the change is not one the lab knows."""
        return UNITS.get(self.change, "")


def curve_of(group: Group) -> Curve | None:
    """A landed group as a curve; None where its arrays are not those of the probe."""
    assert group.outcome is not None
    levels = [m["level"] for key in group.outcome.metrics if (m := _LEVEL.match(key))]
    correct, p_true = (group.outcome.arrays.get(key) for key in ("correct", "p_true"))
    if correct is None or p_true is None or not levels or correct.shape[1:] != (len(levels),):
        return None
    change = str(group.plan["params"].get("change", ""))
    return Curve(group.backbone, group.label, change, tuple(levels), correct, p_true)


def at(change: str, level: str) -> str:
    """``at 45 degrees``, ``at 0.9 (share taken away)``."""
    unit = UNITS.get(change, "")
    if unit.startswith(("degrees", "pieces", "%")):
        return f"at {level} {unit}"
    return f"at {level} ({unit.partition(',')[0]})" if unit else f"at {level}"


def said(curves: Sequence[Curve]) -> list[str]:
    """One sentence a backbone: where half of its clean accuracy is lost, and the worst case."""
    return [_sentence(curve) for curve in curves]


def _sentence(curve: Curve) -> str:
    name, half, clean = code(curve.backbone), curve.half, curve.clean
    worst = f"right at every level: {curve.worst}"
    if clean.value == 0:
        return f"{name} is right on no image to begin with."
    if half is None:
        low = min(range(len(curve.levels)), key=lambda i: curve.rates[i].value)
        return (
            f"{name} does not lose half of its clean {clean} in this range; its lowest accuracy is "
            f"{curve.rates[low]}, {at(curve.change, curve.levels[low])}; {worst}."
        )
    return (
        f"{name} has lost half of its clean {clean} {at(curve.change, curve.levels[half])}, where "
        f"{curve.rates[half]} is left; {worst}."
    )


@dataclass(frozen=True)
class Pair:
    """Two backbones on the same images in the worst case over one range; ``p`` after Holm."""

    change: str
    first: str
    second: str
    paired: Paired
    p: float


def pairs(figures: Sequence[Sequence[Curve]]) -> list[Pair]:
    """Exact McNemar of the worst cases of every two backbones under every change.

    Only where both were tried at the same levels; corrected over all of them together.
    """
    found = []
    for curves in figures:
        for a, b in itertools.combinations(curves, 2):
            if a.levels == b.levels and len(a.correct) == len(b.correct):
                test = statistics.mcnemar(a.worst_correct, b.worst_correct)
                found.append((a.label, a.backbone, b.backbone, test))
    corrected = holm([test.p for *_, test in found]) if found else []
    return [Pair(*one, p) for one, p in zip(found, corrected, strict=True) if not math.isnan(p)]
