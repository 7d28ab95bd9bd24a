"""Curves of accuracy over the levels of a change, and the image along these levels under them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robustlab.reporting.pixels import data_uri
from robustlab.reporting.section import Story
from robustlab.reporting.svg import MUTED, PAPER, RULE, canvas, inline
from robustlab.statistics import Rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Line", "draw", "numbers", "tiles"]

SIZE = (420, 280)  # page pixels: two stand side by side on a desktop, one fills a phone
TILE = 64  # page pixels of an image along the levels, at most
BANDS = 4  # backbones, at most, whose intervals are bands; more would hide each other
_LETTER = 7  # page pixels


@dataclass(frozen=True)
class Line:
    """One backbone: a rate at each level, and one over all levels that stands beside the curve."""

    backbone: str
    rates: tuple[Rate, ...]
    worst: Rate | None = None


def draw(
    story: Story,
    lines: Sequence[Line],
    places: Sequence[float],
    ticks: Sequence[str],
    unit: str,
    prefix: str,
    alt: str,
    joined: bool = True,
    chance: float | None = None,
) -> Any:
    """Accuracy in per cent at ``places`` named by ``ticks``; on the right the worst case.

    ``joined`` draws curves with bands; otherwise points with bars, where places are no quantity.
    """
    with canvas(*SIZE) as figure:
        axes = figure.subplots()
        span = (max(places) - min(places)) or 1.0
        for line in lines:
            _line(story, axes, line, np.asarray(places, dtype=float), joined, len(lines), span)
        if chance is not None:
            axes.axhline(100 * chance, color=MUTED, lw=1, ls=(0, (1, 2)))
        right = max(places) + 0.13 * span
        worst = any(line.worst is not None for line in lines)
        marks = _spaced(places, ticks, span)
        axes.set_xticks(
            [p for p, _ in marks] + [right] * worst, [t for _, t in marks] + ["all"] * worst
        )
        if worst:
            axes.axvline(max(places) + 0.065 * span, color=RULE, lw=0.7)
        beside = 0.05 * span
        axes.set_xlim(min(places) - beside, (right if worst else max(places)) + beside)
        axes.set_ylim(-3, 104)
        axes.set_yticks([0, 25, 50, 75, 100], ["0", "25", "50", "75", "100 %"])
        axes.grid(axis="y", lw=0.7)
        axes.set_axisbelow(True)
        axes.set_xlabel(unit)
        return inline(figure, prefix, alt)


def numbers(rate: Rate) -> list[Any]:
    """Value, low, high and n as they stand in a table of data; empty where not measured."""
    return ["" if np.isnan(v) else v for v in (rate.value, rate.low, rate.high)] + [rate.n]


def _line(
    story: Story, axes: Axes, line: Line, x: NDArray[Any], joined: bool, of: int, span: float
) -> None:
    style = story.styles[line.backbone]
    value, low, high = (
        np.array([100 * getattr(r, f) for r in line.rates]) for f in ("value", "low", "high")
    )
    look: dict[str, Any] = {"color": style.colour, "marker": style.marker, "mec": PAPER, "ms": 6.5}
    # Beside each other where they would lie on each other; a curve stays where it is.
    aside = 0.0 if joined else (style.index - (len(story.styles) - 1) / 2) * 0.035 * span
    if joined:
        dash = (0, style.dash) if style.dash else "-"
        axes.plot(x, value, lw=2, ls=dash, **look)
        if of <= BANDS:
            axes.fill_between(x, low, high, color=style.colour, alpha=0.15, lw=0)
    else:
        bars = np.array([value - low, high - value]).clip(min=0)
        axes.errorbar(x + aside, value, bars, ls="none", elinewidth=1.4, **look)
    if line.worst is not None and line.worst.n:
        worst = line.worst
        places = len(story.styles)
        at = float(x.max()) + (0.13 + 0.025 * (style.index - (places - 1) / 2)) * span
        bar = [[100 * (worst.value - worst.low)], [100 * (worst.high - worst.value)]]
        axes.errorbar([at], [100 * worst.value], bar, ls="none", elinewidth=1.4, **look)


def _spaced(places: Sequence[float], ticks: Sequence[str], span: float) -> list[tuple[float, str]]:
    """The levels whose names have room beside each other: the ends and 0 first."""
    order = sorted(
        zip(places, ticks, strict=True),
        key=lambda p: (p[0] not in (0, places[0], places[-1]), abs(p[0])),
    )
    kept: list[tuple[float, str]] = []
    for place, tick in order:
        room = [span * _LETTER * (len(tick) + len(t) + 1) / 2 / (SIZE[0] - 90) for _, t in kept]
        if all(abs(place - p) >= r for (p, _), r in zip(kept, room, strict=True)):
            kept.append((place, tick))
    return sorted(kept)


def tiles(pixels: NDArray[np.uint8], count: int) -> tuple[list[str], bool]:
    """A strip of ``count`` images as one address each, and whether they had to be made smaller."""
    width = pixels.shape[1] // count
    parts = [pixels[:, i * width : (i + 1) * width] for i in range(count)]
    reduced = max(width, pixels.shape[0]) > TILE
    return [data_uri(_reduced(part) if reduced else part) for part in parts], reduced


def _reduced(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((TILE, TILE), Image.Resampling.LANCZOS)
    return np.asarray(picture, dtype=np.uint8)
