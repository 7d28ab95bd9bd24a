"""The way from the clean picture, and what the changed one survives: curves and their findings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from robustlab.fooled import Curve, Fooled, Way
from robustlab.reporting.fooling.charts import ASKED, LOOKS, SEEN, Line, chart, evenly
from robustlab.reporting.fooling.words import chance, count, joined, plain_name, quoted

__all__ = ["survival", "ways"]

SHOWN = 8  # classes told of a way
LINE = "straight line"


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
        "drawing": chart(_lines(fooled, way), way.at, ticks, axis, f"way-{place}", alt),
        "classes": told,
        "file": f"way-{place + 1}.csv",
        "head": ["at", "seen in the original", "asked for", "taken for"],
        "rows": [list(row) for row in zip(*_columns(way, way.at), way.prediction, strict=True)],
    }


def _at(value: float, line: bool) -> str:
    return f"{100 * value:.3g} %" if line else f"{value:g}"


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
    flags = (curve.fooled, curve.at_target, curve.clean)
    columns = [*_columns(curve, curve.values), *(["yes" if v else "no" for v in c] for c in flags)]
    return {
        "name": name,
        "drawing": drawn["wide"],
        "sentence": _until(fooled, curve),
        "file": f"kept-{place + 1}.csv",
        "head": ["value", "p seen", "p asked for", "fooled", "at target", "original kept"],
        "rows": [list(row) for row in zip(*columns, strict=True)],
    }


def _told(fooled: Fooled, curve: Curve, place: int) -> str:
    after = curve.label if fooled.target is None else curve.target
    name = fooled.label if fooled.target is None else fooled.target
    return f"{quoted(name)} {chance(float(after[place]))}"


def _tried(fooled: Fooled, curve: Curve) -> list[int]:
    """Places that change the picture; one that leaves it as it was is no test."""
    after = fooled.after
    pairs = ((curve.label[0], after.label), (curve.target[0], after.target))
    same = all(math.isclose(x, y, rel_tol=1e-9) for x, y in pairs if math.isfinite(y))
    return list(range(int(same), len(curve.values)))


def _holds(fooled: Fooled, curve: Curve) -> int:
    """At how many of the values tried it holds without a break, from the mildest on."""
    kept = _kept(fooled, curve)
    tried = _tried(fooled, curve)
    return next((n for n, i in enumerate(tried) if not kept[i]), len(tried))


def _until(fooled: Fooled, curve: Curve) -> str:
    """How far it holds; what of the original is lost is told too."""
    tried, holds, kept = _tried(fooled, curve), _holds(fooled, curve), _kept(fooled, curve)
    if not tried:
        return "Nothing was tried that changes the picture."
    rest = tried[holds:]
    if not rest:
        said = "Holds at every value tried"
    elif not holds:
        said = f"Does not hold at {_value(curve, rest[0])}, the mildest tried"
    else:
        said = f"Holds to {_value(curve, tried[holds - 1])}, not at {_value(curve, rest[0])}"
    again = sum(kept[i] for i in rest)
    said += f"; holds again at {again} stronger" if again else ""
    wrong = [i for i in rest if curve.fooled[i] and not kept[i]]
    if wrong:
        said += f"; at {len(wrong)} of {len(rest) - again} where it does not, "
        said += "the class is wrong all the same"
    lost = sum(not curve.clean[i] for i in tried)
    if lost:
        said += f"; the original, changed alike, is itself no longer recognised at {lost}"
    return f"{said}."


def _survived(fooled: Fooled, held: Sequence[Curve]) -> str:
    """What it survives at every value, what to some, and how many not even at the mildest."""
    counted = [(c, _holds(fooled, c), len(_tried(fooled, c))) for c in held]
    counted = [(c, holds, tried) for c, holds, tried in counted if tried]
    whole = [plain_name(c.name) for c, holds, tried in counted if holds == tried]
    part = [
        f"{plain_name(c.name)} to {_value(c, _tried(fooled, c)[holds - 1])}"
        for c, holds, tried in counted
        if 0 < holds < tried
    ]
    none = len(counted) - len(whole) - len(part)
    if none == len(counted):
        return f"It survives none of {count(none, 'change')}, not even at the mildest tried"
    told = [f"{joined(whole)} at every value tried"] if whole else []
    said = f"It survives {joined([*told, *part])}"
    return said + (f"; not the mildest of {none} other{'s' * (none > 1)}" if none else "")
