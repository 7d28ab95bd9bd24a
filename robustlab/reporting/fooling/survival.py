"""What is left of the changed picture when it is changed as pictures are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from robustlab.fooled import Curve, Fooled
from robustlab.reporting.fooling.charts import chart
from robustlab.reporting.fooling.classes import columns, legend, lines
from robustlab.reporting.fooling.verdict import Finding
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
    unit = plain_name(curve.unit)
    if curve.values[place] == 1 and " " not in unit:
        unit = unit.removesuffix("s")
    return f"{curve.values[place]:g} {unit}".rstrip()


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


def _tried(curve: Curve) -> list[int]:
    """Places that change the picture; one that leaves every pixel as it was is no test."""
    return list(range(curve.unchanged, len(curve.values)))


def _holds(fooled: Fooled, curve: Curve) -> int:
    """At how many of the values tried it holds without a break, from the mildest on."""
    kept = _kept(fooled, curve)
    tried = _tried(curve)
    return next((n for n, i in enumerate(tried) if not kept[i]), len(tried))


def _until(fooled: Fooled, curve: Curve) -> str:
    """How far it holds; what of the original is lost is told too."""
    tried, holds, kept = _tried(curve), _holds(fooled, curve), _kept(fooled, curve)
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
    said += f"; holds again at {count(again, 'stronger value')}" if again else ""
    wrong = [i for i in rest if curve.fooled[i] and not kept[i]]
    if wrong:
        said += f"; at {len(wrong)} of the {count(len(rest) - again, 'value')} where it does not, "
        said += "the class is wrong all the same"
    lost = [_value(curve, i) for i in tried if not curve.clean[i]]
    if lost:
        said += "; the original, changed alike, is itself no longer recognised at "
        said += "any value tried" if len(lost) == len(tried) else joined(lost)
    return f"{said}."


# How the title names a change at a value; others by their name and value.
_CHANGES = {
    "JPEG quality": "JPEG at quality {}",
    "resized and back": "resizing to {} and back",
    "cropped": "cropping {}",
    "blur": "a blur of {}",
    "shifted": "a shift of {}",
    "rotated": "a rotation of {}",
}


def _at(curve: Curve, place: int) -> str:
    """``a shift of 1 pixel``."""
    return _CHANGES.get(curve.name, f"{plain_name(curve.name)} at {{}}").format(
        _value(curve, place)
    )


def _survived(fooled: Fooled, held: Sequence[Curve]) -> str:
    """The strongest change of each kind that it survives without a break, and the mildest of those
    that undo it at once; values that change no pixel are neither.
    """
    if not Finding(fooled).reached:
        return "The picture does not do what was asked, so there is nothing to survive"
    counted = [(c, _holds(fooled, c), _tried(c)) for c in held if _tried(c)]
    if not counted:
        return "Nothing was tried that changes the picture"
    survived = [
        _at(c, tried[holds - 1]) + (", the most tried" if holds == len(tried) else "")
        for c, holds, tried in counted
        if holds
    ]
    lost = [(c, tried[0]) for c, holds, tried in counted if not holds]
    said = f"It survives {_listed(survived)}" if survived else "It survives nothing that was tried"
    if not lost:
        return said
    told = joined([_at(c, place) for c, place in lost])
    said += f"; {told} undo{'es' * (len(lost) == 1)} it"
    wrong = sum(bool(c.fooled[place]) for c, place in lost)
    if not wrong:
        return said
    after = f"{wrong} of these" if len(lost) > 1 else "it"
    return f"{said}, though the class is wrong all the same after {after}"


def _listed(parts: list[str]) -> str:
    """`joined`, by semicolons where a part has a comma of its own."""
    if len(parts) > 1 and any("," in part for part in parts):
        return "; ".join([*parts[:-1], f"and {parts[-1]}"])
    return joined(parts)
