"""What withstands shifts beside what withstands attacks: the same networks, the same images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robustlab.evidence import telling_eps
from robustlab.reporting.invariance.told import Told
from robustlab.reporting.section import Story, render
from robustlab.reporting.svg import RULE, canvas, inline
from robustlab.results import Group
from robustlab.statistics import Rate
from robustlab.verdict import code, norm_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["both"]

WIDTHS = {"wide": (880, 400), "narrow": (370, 340)}
SHIFTS = "worst_shift_accuracy"


@dataclass(frozen=True)
class Place:
    """One backbone: right at every shift, right under every attack, each a rate of images."""

    backbone: str
    shifts: Rate
    attacks: Rate


def both(story: Story) -> Told | None:
    """The plot, where at least two backbones were shifted and attacked."""
    found = _measured(story)
    if found is None or len(found[0]) < 2:
        return None
    places, metric, at = found
    alt = "; ".join(f"{p.backbone}: {p.shifts} and {p.attacks}" for p in places)
    body = render(
        "both.html",
        story,
        drawings={
            kind: _draw(story, places, size, f"both-{kind[0]}", alt)
            for kind, size in WIDTHS.items()
        },
        names=[p.backbone for p in places],
        metric=metric,
        at=at,
        head=["backbone", SHIFTS, "robust_accuracy"],
        rows=[[p.backbone, p.shifts.value, p.attacks.value] for p in places],
    )
    return Told(_title(places), body)


def _measured(story: Story) -> tuple[list[Place], str, str] | None:
    """Backbones with both numbers; which shifts, and which budget."""
    evidence = story.evidence
    norm = next(iter(evidence.norms), None)
    eps = telling_eps(evidence, norm) if evidence.norms else None
    if eps is None:
        return None
    shifted: dict[str, tuple[Group, str]] = {}
    for group in evidence.landed:
        if group.plan["probe"] == "shift" and group.outcome is not None:
            named = [m for m in group.outcome.metrics if m.startswith(SHIFTS)]
            if named:
                shifted.setdefault(group.backbone, (group, named[0]))
    places = [
        Place(name, group.rate(metric), evidence.robust(name, norm, eps))
        for name, (group, metric) in shifted.items()
        if evidence.broken(name, norm, eps) is not None
    ]
    if not places:
        return None
    group, _ = next(iter(shifted.values()))
    params = group.plan["params"]
    what = f"within {params['radius']} pixels, mode {params['mode']}"
    return places, what, f"eps {eps.text} ({norm_name(norm)})"


def _title(places: list[Place]) -> str:
    """Whether the network that withstands most shifts withstands most attacks."""
    steady = max(places, key=lambda p: p.shifts.value)
    robust = max(places, key=lambda p: p.attacks.value)
    if steady.backbone == robust.backbone:
        return f"{code(steady.backbone)} withstands most shifts and most attacks"
    return (
        f"{code(steady.backbone)} withstands most shifts, {code(robust.backbone)} most attacks: "
        "they are two things"
    )


def _draw(story: Story, places: list[Place], size: tuple[int, int], prefix: str, alt: str) -> Any:
    with canvas(*size) as figure:
        axes = figure.subplots()
        for place in places:
            _cross(axes, place, story)
        axes.set_xlabel("right at every shift (%)")
        axes.set_ylabel("right under every attack (%)")
        axes.grid(lw=0.6, color=RULE)
        return inline(figure, prefix, f"Shift and adversarial robustness. {alt}.")


def _cross(axes: Axes, place: Place, story: Story) -> None:
    style = story.styles[place.backbone]
    x, y = 100 * place.shifts.value, 100 * place.attacks.value
    ends = [
        np.array([[value - 100 * rate.low], [100 * rate.high - value]])
        for value, rate in ((x, place.shifts), (y, place.attacks))
    ]
    axes.errorbar([x], [y], ends[1], ends[0], color=style.colour, lw=1.2, alpha=0.6, fmt="none")
    axes.plot([x], [y], style.marker, ms=9, color=style.colour)
