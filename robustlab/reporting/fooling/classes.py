"""The two classes that every curve is about: the one seen in the original, the one asked for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from robustlab.fooled import Curve, Fooled, Way
from robustlab.reporting.fooling.charts import ASKED, LOOKS, SEEN, Line
from robustlab.reporting.fooling.words import quoted

__all__ = ["columns", "legend", "lines"]


def legend(fooled: Fooled) -> list[tuple[str, Any]]:
    """What the two lines are: the class seen in the original, the class asked for."""
    seen = [(quoted(fooled.label), LOOKS[SEEN])]
    return seen + ([(quoted(fooled.target), LOOKS[ASKED])] if fooled.target is not None else [])


def lines(fooled: Fooled, one: Way | Curve) -> list[Line]:
    found = [Line(one.label, LOOKS[SEEN])]
    return found + ([Line(one.target, LOOKS[ASKED])] if fooled.target is not None else [])


def columns(one: Way | Curve, places: Any) -> list[list[Any]]:
    """Numbers of the table; a probability that was not asked for is empty."""
    kept = [np.asarray(places, dtype=float), one.label, one.target]
    return [[float(v) if math.isfinite(v) else "" for v in column] for column in kept]
