"""The way from the clean picture, and what the changed one survives: curves and their findings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from robustlab.fooled import Curve, Fooled, Way
from robustlab.reporting.fooling.charts import ASKED, LOOKS, SEEN, Line, chart, evenly
from robustlab.reporting.fooling.words import chance, joined, plain_name, quoted

__all__ = ["survival", "ways"]

SHOWN = 8  # classes told of a way


def legend(fooled: Fooled) -> list[tuple[str, Any]]:
    """What the two lines are: the class seen in the original, the class asked for."""
    seen = [(quoted(fooled.label), LOOKS[SEEN])]
    return seen + ([(quoted(fooled.target), LOOKS[ASKED])] if fooled.target is not None else [])


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


def _lines(fooled: Fooled, one: Way | Curve) -> list[Line]:
    lines = [Line(one.label, LOOKS[SEEN])]
    return lines + ([Line(one.target, LOOKS[ASKED])] if fooled.target is not None else [])


def _way(fooled: Fooled, way: Way, place: int) -> dict[str, Any]:
    line = float(np.max(way.at)) <= 1.0
    ticks = [(float(v), f"{100 * v:.3g} %" if line else f"{v:g}") for v in way.at]
    told = joined([f"{name} from {tick}" for tick, name in _classes(way, line)])
    alt = f"Probabilities along the way ({plain_name(way.name)}): it is taken for {told}."
    axis = "share of the perturbation that is added" if line else "steps"
    return {
        "name": plain_name(way.name),
        "drawing": chart(_lines(fooled, way), way.at, ticks, axis, f"way-{place}", alt),
        "classes": _classes(way, line),
        "file": f"way-{place + 1}.csv",
        "head": ["at", "seen in the original", "asked for", "taken for"],
        "rows": [list(row) for row in zip(*_columns(way, way.at), way.prediction, strict=True)],
    }


def _columns(one: Way | Curve, places: Any) -> list[list[Any]]:
    """Numbers of the table; a probability that was not asked for is empty."""
    kept = [np.asarray(places, dtype=float), one.label, one.target]
    return [[float(v) if math.isfinite(v) else "" for v in column] for column in kept]


def _classes(way: Way, line: bool) -> list[tuple[str, str]]:
    """(place, class) wherever the class changes."""
    found: list[tuple[str, str]] = []
    before = None
    for at, name in zip(way.at.tolist(), way.prediction, strict=True):
        if name != before:
            found.append((f"{100 * at:.3g} %" if line else f"{at:g}", quoted(name)))
        before = name
    return [found[i] for i in evenly(len(found), SHOWN)]


def _turning(fooled: Fooled, way: Way) -> str:
    """Where on the first way the class is left for good."""
    away = [name != way.prediction[0] for name in way.prediction]
    if not away[-1]:
        return f"The way ends where it began: {quoted(way.prediction[-1])}"
    last = max(i for i, left in enumerate(away) if not left) + 1
    line = float(np.max(way.at)) <= 1.0
    at = f"{100 * way.at[last]:.3g} % of the way" if line else f"step {way.at[last]:g}"
    passed = list(dict.fromkeys(n for n in way.prediction[last:-1] if n != way.prediction[-1]))
    over = f", by way of {joined([quoted(n) for n in passed[:3]])}" if passed else ""
    start, end = quoted(way.prediction[0]), quoted(way.prediction[-1])
    return f"{start} is left after {at}, for {end}{over}"


def survival(fooled: Fooled) -> dict[str, Any] | None:
    """One small chart a change of the saved picture; None where none was tried."""
    held = [curve for curve in fooled.survival if len(curve.values)]
    if not held:
        return None
    return {
        "title": _survived(fooled, held),
        "legend": legend(fooled),
        "figures": [_curve(fooled, curve, place) for place, curve in enumerate(held)],
    }


def _kept(fooled: Fooled, curve: Curve) -> list[bool]:
    """Where it still does what was asked for."""
    return [bool(v) for v in (curve.fooled if fooled.target is None else curve.at_target)]


def _value(curve: Curve, place: int) -> str:
    return f"{curve.values[place]:g} {plain_name(curve.unit)}".rstrip()


def _curve(fooled: Fooled, curve: Curve, place: int) -> dict[str, Any]:
    places = list(range(len(curve.values)))
    ticks = [(float(i), f"{curve.values[i]:g}") for i in places]
    clean = [bool(v) for v in curve.clean]
    told = "; ".join(f"{_value(curve, i)}: {_told(fooled, curve, i)}" for i in places)
    name = plain_name(curve.name)
    alt = f"{name}: {told}."
    axis = f"{name}{f' ({plain_name(curve.unit)})' if curve.unit else ''}"
    lines = _lines(fooled, curve)
    drawn = chart(lines, places, ticks, axis, f"kept-{place}", alt, marks=clean, small=True)
    columns = [*_columns(curve, curve.values), curve.fooled, curve.at_target, curve.clean]
    yes = [[v if i < 3 else ("yes" if v else "no") for v in c] for i, c in enumerate(columns)]
    return {
        "name": name,
        "drawing": drawn["wide"],
        "sentence": _until(fooled, curve),
        "file": f"kept-{place + 1}.csv",
        "head": ["value", "p seen", "p asked for", "fooled", "at target", "original kept"],
        "rows": [list(row) for row in zip(*yes, strict=True)],
    }


def _told(fooled: Fooled, curve: Curve, place: int) -> str:
    after = curve.label if fooled.target is None else curve.target
    name = fooled.label if fooled.target is None else fooled.target
    return f"{quoted(name)} {chance(float(after[place]))}"


def _until(fooled: Fooled, curve: Curve) -> str:
    """How far it holds, from the mildest on; what of the original is lost is told too."""
    kept = _kept(fooled, curve)
    holds = next((i for i, good in enumerate(kept) if not good), len(kept))
    if holds == len(kept):
        said = "Holds at every value tried"
    elif holds == 0:
        said = f"Does not hold at {_value(curve, 0)}, the mildest tried"
    else:
        said = f"Holds to {_value(curve, holds - 1)}, not at {_value(curve, holds)}"
    again = sum(kept[holds:])
    said += f" (again at {again} of the stronger)" if again else ""
    half = sum(bool(f) and not k for f, k in zip(curve.fooled, kept, strict=True))
    if half:
        said += (
            f"; where it does not, at {half} of {len(kept) - sum(kept)} the class is still wrong"
        )
    lost = len(kept) - int(np.sum(curve.clean))
    if lost:
        said += f"; the original, changed alike, is itself no longer recognised at {lost}"
    return f"{said}."


def _survived(fooled: Fooled, held: Sequence[Curve]) -> str:
    """Which changes it survives to the end, which it does not survive at all."""
    whole = [c for c in held if all(_kept(fooled, c))]
    none = [c for c in held if not _kept(fooled, c)[0]]
    if len(whole) == len(held):
        return f"It survives all {len(held)} changes, at every value tried"
    if len(none) == len(held):
        return f"It survives none of {len(held)} changes, not even at the mildest value tried"
    said = f"Of {len(held)} changes it survives {len(whole)} at every value tried"
    lost = joined([plain_name(c.name) for c in none])
    return (
        f"{said}; at its mildest, {lost} undoes it"
        if len(none) == 1
        else said + (f"; {lost} undo it at their mildest" if none else "")
    )
