"""How accuracy falls as one thing is changed more and more: one figure a change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from robustlab.reporting.invariance.severity_curves import Curve, at, curve_of, pairs, said
from robustlab.reporting.invariance.severity_drawing import BANDS, Line, draw, numbers, tiles
from robustlab.reporting.invariance.told import Told
from robustlab.reporting.section import Story, render
from robustlab.results import Group
from robustlab.statistics import bootstrap_mean
from robustlab.verdict import code, p_text, plural

__all__ = ["severity"]


def severity(story: Story, groups: Sequence[Group]) -> Told | None:
    """The part of the probe ``severity``; nothing where no group holds its arrays."""
    held = [(group, curve) for group in groups if (curve := curve_of(group)) is not None]
    if not held:
        return None
    labels = dict.fromkeys(curve.label for _, curve in held)
    together = [[(g, c) for g, c in held if c.label == label] for label in labels]
    figures = [_figure(story, one, place) for place, one in enumerate(together)]
    curves = [[c for _, c in one] for one in together]
    tests = [
        {"pair": pair, "p": p_text(pair.p), "what": _name(pair.change)} for pair in pairs(curves)
    ]
    body = render(
        "severity.html", story, figures=figures, tests=tests, banded=len(story.styles) <= BANDS
    )
    return Told(_title(story, [c for one in curves for c in one]), body)


def _title(story: Story, curves: Sequence[Curve]) -> str:
    """Where half of the clean accuracy is lost; of many curves, in how many ranges, and the range
    that leaves fewest images right throughout."""
    if len(curves) == 1:
        return _of_one(story, curves[0])
    names = list(dict.fromkeys(c.backbone for c in curves))
    counts = []
    for name in names[:3]:
        mine = [c for c in curves if c.backbone == name]
        lost = sum(c.half is not None for c in mine)
        counts.append(f"{code(name)} within {lost} of {plural(len(mine), 'ranges')} of change")
    more = f" ({plural(len(names) - 3, 'more backbones')} below)" if len(names) > 3 else ""
    worst = min(curves, key=lambda c: c.worst.value)
    return (
        f"Half of the clean accuracy is lost by {', by '.join(counts)}{more}; "
        f"{_name(worst.change)} leaves {code(worst.backbone)} right at every level on "
        f"{worst.worst} of {plural(worst.worst.n, story.evidence.noun)}"
    )


def _of_one(story: Story, curve: Curve) -> str:
    images = f"of {plural(curve.clean.n, story.evidence.noun)}"
    if curve.half is None:
        kept = f"right at every level on {curve.worst} {images} (clean {curve.clean})"
        return f"{_name(curve.change).capitalize()} leaves {code(curve.backbone)} {kept}"
    place = curve.half
    return (
        f"{_name(curve.change).capitalize()} {at(curve.change, curve.levels[place])} leaves "
        f"{code(curve.backbone)} right on {curve.rates[place]} {images}, at most half of its clean "
        f"{curve.clean}"
    )


def _name(change: str) -> str:
    return change or "the change"


def _figure(story: Story, held: Sequence[tuple[Group, Curve]], place: int) -> dict[str, Any]:
    """One change. Levels that differ between backbones each keep their own places."""
    curves = [c for _, c in held]
    first = curves[0]
    ticks = dict(sorted((p, t) for c in curves for p, t in zip(c.places, c.levels, strict=True)))
    same = all(c.levels == first.levels for c in curves)
    lines = [Line(c.backbone, c.rates, c.worst) for c in curves]
    sentences = said(curves)
    alt = f"Line chart of accuracy against {_name(first.change)}. " + " ".join(
        sentence.replace("`", "") for sentence in sentences
    )
    outcome = held[0][0].outcome
    assert outcome is not None
    strip = (
        tiles(outcome.pictures[0].pixels, len(first.levels)) if outcome.pictures else ([], False)
    )
    told = outcome.samples.get("background_told")
    return {
        "name": _heading(first, held[0][0]),
        "names": [c.backbone for c in curves],
        "drawing": draw(
            story, lines, list(ticks), list(ticks.values()), first.unit, f"severity-{place}", alt
        )
        if same
        else None,
        "sentences": sentences,
        "tiles": list(zip(strip[0], first.levels, strict=True)) if strip[0] else [],
        "reduced": strip[1],
        "image": outcome.pictures[0].caption if outcome.pictures else "",
        "notes": list(dict.fromkeys(n for g, _ in held if g.outcome for n in g.outcome.notes)),
        "told": None if told is None else (int(told.sum()), len(told)),
        "rows": [_row(story, c) for c in curves],
        "file": f"severity-{place}.csv",
        "head": [
            "backbone",
            "level",
            "accuracy",
            "low",
            "high",
            "n",
            "mean_p_true",
            "p_low",
            "p_high",
        ],
        "data": [row for c in curves for row in _data(c)],
    }


def _heading(curve: Curve, group: Group) -> str:
    """The change, and what tells it from another figure of the same."""
    others = [
        part
        for part in str(group.plan["label_params"]).split(", ")
        if part and not part.startswith("change=")
    ]
    return ", ".join([_name(curve.change).capitalize(), *others])


def _row(story: Story, curve: Curve) -> dict[str, Any]:
    half = curve.half
    return {
        "backbone": curve.backbone,
        "clean": curve.clean,
        "worst": curve.worst,
        "half": "not in this range" if half is None else at(curve.change, curve.levels[half]),
        "key": 1e9 if half is None else abs(curve.places[half]),
    }


def _data(curve: Curve) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for i, rate in enumerate(curve.rates):
        p = bootstrap_mean(curve.p_true[:, i])
        place = curve.places[i]
        level = int(place) if place.is_integer() else place
        rows.append([curve.backbone, level, *numbers(rate), *numbers(p)[:3]])
    return [*rows, [curve.backbone, "all", *numbers(curve.worst), "", "", ""]]
