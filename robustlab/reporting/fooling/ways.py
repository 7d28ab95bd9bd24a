"""The way from the clean picture to the changed one, as probabilities."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from robustlab.fooled import Fooled, Way
from robustlab.reporting.fooling.charts import chart, evenly
from robustlab.reporting.fooling.classes import columns, legend, lines
from robustlab.reporting.fooling.words import count, joined, plain_name, quoted

__all__ = ["ways"]

SHOWN = 8  # classes told of a way
LINE = "straight line"


def ways(fooled: Fooled) -> dict[str, Any] | None:
    """The probabilities along each way; None where none was walked."""
    held = [way for way in fooled.ways if len(way.at)]
    if not held:
        return None
    return {
        "title": _turning(fooled, held[0]),
        "legend": legend(fooled),
        "figures": [_way(fooled, way, place) for place, way in enumerate(held)],
    }


def _way(fooled: Fooled, way: Way, place: int) -> dict[str, Any]:
    line = way.name == LINE
    named = np.linspace(0, 1, 5) if line else way.at[evenly(len(way.at), 11)]
    ticks = [(float(v), _at(v, line)) for v in named]
    told = joined([f"{name} from {tick}" for tick, name in _classes(way, line)])
    changes = sum(a != b for a, b in pairwise(way.prediction))
    told += f" ({count(changes, 'change')} in all)" if changes >= SHOWN else ""
    alt = f"Probabilities along the way ({plain_name(way.name)}): it is taken for {told}."
    axis = "share of the perturbation that is added" if line else "looks of the search"
    return {
        "name": plain_name(way.name),
        "drawing": chart(lines(fooled, way), way.at, ticks, axis, f"way-{place}", alt),
        "classes": told,
        "file": f"way-{place + 1}.csv",
        "head": ["at", "seen in the original", "asked for", "taken for"],
        "rows": [list(row) for row in zip(*columns(way, way.at), way.prediction, strict=True)],
    }


def _at(value: float, line: bool) -> str:
    return f"{100 * value:.3g} %" if line else f"{value:g}"


def _classes(way: Way, line: bool) -> list[tuple[str, str]]:
    """(place, class) wherever the class changes."""
    found: list[tuple[str, str]] = []
    before = None
    for at, name in zip(way.at.tolist(), way.prediction, strict=True):
        if name != before:
            found.append((_at(at, line), quoted(name)))
        before = name
    return [found[i] for i in evenly(len(found), SHOWN)]


def _turning(fooled: Fooled, way: Way) -> str:
    """Where on the first way the class is left for good."""
    away = [name != way.prediction[0] for name in way.prediction]
    if not away[-1]:
        return f"The way ends where it began: {quoted(way.prediction[-1])}"
    last = max(i for i, left in enumerate(away) if not left) + 1
    line = way.name == LINE
    at = f"{_at(way.at[last], line)} of the way" if line else f"look {_at(way.at[last], line)}"
    passed = list(dict.fromkeys(n for n in way.prediction[last:-1] if n != way.prediction[-1]))
    over = f", by way of {joined([quoted(n) for n in passed[:3]])}" if passed else ""
    start, end = quoted(way.prediction[0]), quoted(way.prediction[-1])
    return f"{start} is left after {at}, for {end}{over}"
