"""Line charts of the page of one picture: probabilities over budgets, steps, severities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robustlab.reporting.palette import Style, styles
from robustlab.reporting.svg import INK, MUTED, PAPER, RULE, canvas, inline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["LOOKS", "Line", "chart", "evenly"]

SEEN, ASKED = "seen in the original", "asked for"
LOOKS = styles([SEEN, ASKED])
SIZES = {"wide": (880, 330), "narrow": (370, 290)}
SMALL = {"wide": (400, 230)}


@dataclass(frozen=True)
class Line:
    """Probabilities in [0, 1] over the places of the x axis."""

    values: NDArray[np.float64]
    style: Style


def chart(
    lines: Sequence[Line],
    places: ArrayLike,
    ticks: Sequence[tuple[float, str]],
    axis: str,
    prefix: str,
    alt: str,
    *,
    marks: Sequence[bool] = (),
    small: bool = False,
) -> dict[str, Any]:
    """Probability against ``places``, one drawing a width.

    Args:
        lines: what is drawn; a NaN is a gap.
        ticks: places that are named, with their names.
        axis: what the places are.
        marks: a row of signs below the curves, one a place: a dot, or a cross where False.
    """
    drawn = {}
    for kind, size in (SMALL if small else SIZES).items():
        with canvas(*size) as figure:
            axes = figure.add_subplot()
            for line in lines:
                _line(axes, np.asarray(places, dtype=np.float64), line)
            _marks(axes, np.asarray(places, dtype=np.float64), marks)
            axes.set_ylim(-20 if len(marks) else -3, 104)
            axes.set_yticks([0, 25, 50, 75, 100], ["0", "25", "50", "75", "100 %"])
            axes.grid(axis="y", lw=0.7)
            axes.set_axisbelow(True)
            held = _apart(ticks, size[0])
            axes.set_xticks([p for p, _ in held], [t for _, t in held])
            axes.figure.supxlabel(axis, fontsize=13, color=MUTED)
            drawn[kind] = inline(figure, f"{prefix}-{kind[0]}", alt)
    return drawn


def _line(axes: Axes, places: NDArray[np.float64], line: Line) -> None:
    style = line.style
    axes.plot(
        places,
        100 * np.asarray(line.values, dtype=np.float64),
        color=style.colour,
        lw=2.2,
        dashes=style.dash or (None, None),
        marker=style.marker if len(places) <= 24 else None,
        ms=7,
        mec=PAPER,
        clip_on=False,
    )


def _marks(axes: Axes, places: NDArray[np.float64], marks: Sequence[bool]) -> None:
    if not len(marks):
        return
    axes.axhline(-6, color=RULE, lw=0.7)
    for place, good in zip(places, marks, strict=True):
        axes.plot([place], [-13], "o" if good else "x", ms=6, color=INK, mfc=INK, clip_on=False)


def _apart(ticks: Sequence[tuple[float, str]], width: int) -> list[tuple[float, str]]:
    """Ticks whose names do not touch: the ends first, then what has room between them."""
    if len(ticks) < 2:
        return list(ticks)
    span = max(p for p, _ in ticks) - min(p for p, _ in ticks)
    held: list[tuple[float, str]] = []
    for place, name in [ticks[0], ticks[-1], *ticks[1:-1]]:
        near = (8.5 * (len(name) + len(other)) / 2 + 8 for _, other in held)
        gaps = (abs(place - p) * (width - 80) / (span or 1.0) for p, _ in held)
        if all(gap > room for gap, room in zip(gaps, near, strict=True)):
            held.append((place, name))
    return sorted(held)


def evenly(many: int, most: int) -> list[int]:
    """At most ``most`` of ``many`` places, evenly spread, the first and the last among them."""
    return sorted({round(i) for i in np.linspace(0, many - 1, min(many, most))})
