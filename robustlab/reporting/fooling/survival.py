"""What is left of the changed picture when it is changed as pictures are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from robustlab.fooled import Curve, Fooled
from robustlab.reporting.fooling.charts import chart
from robustlab.reporting.fooling.classes import columns, legend, lines
from robustlab.reporting.fooling.words import chance, count, joined, plain_name, quoted

__all__ = ["survival"]


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
    drawn = chart(
        lines(fooled, curve), places, ticks, axis, f"kept-{place}", alt, marks=clean, small=True
    )
    flags = (curve.fooled, curve.at_target, curve.clean)
    kept = [*columns(curve, curve.values), *(["yes" if v else "no" for v in c] for c in flags)]
    return {
        "name": name,
        "drawing": drawn["wide"],
        "sentence": _until(fooled, curve),
        "file": f"kept-{place + 1}.csv",
        "head": ["value", "p seen", "p asked for", "fooled", "at target", "original kept"],
        "rows": [list(row) for row in zip(*kept, strict=True)],
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
