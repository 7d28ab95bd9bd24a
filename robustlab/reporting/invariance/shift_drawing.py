"""Drawings of the shift part: one image along a line, accuracy beside consistency, bars, radii."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from robustlab.reporting.invariance.shift_found import Shifts
from robustlab.reporting.palette import Style
from robustlab.reporting.section import Story
from robustlab.reporting.svg import INK, MUTED, PAPER, RULE, canvas, inline
from robustlab.statistics import Rate

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

__all__ = ["along", "bars", "both", "by_radius", "scatter"]

SIZES = {"wide": 880, "narrow": 370}
LETTERS = 26


def both(draw: Callable[[int, str], Markup], prefix: str) -> dict[str, Markup]:
    """A drawing for wide and for narrow screens."""
    return {kind: draw(width, f"{prefix}-{kind[0]}") for kind, width in SIZES.items()}


def _line(axes: Axes, style: Style, x: Any, y: Any, **more: Any) -> None:
    dash: Any = (0, style.dash) if style.dash else "-"
    settings = {"color": style.colour, "lw": 2, "ls": dash, "marker": style.marker, "ms": 5}
    axes.plot(x, y, **(settings | {"markeredgecolor": PAPER, "markeredgewidth": 0.8} | more))


def _percent(axes: Axes, which: str = "y") -> None:
    axis = axes.yaxis if which == "y" else axes.xaxis
    axis.set_major_formatter(lambda value, _: f"{100 * value:g} %")


def along(
    story: Story,
    lines: Sequence[tuple[str, Any, Any]],
    marks: Sequence[tuple[float, float]],
    width: int,
    prefix: str,
    alt: str,
) -> Markup:
    """p(true) of one image along a line of shifts; rings mark the pictures shown."""
    with canvas(width, 300) as figure:
        axes = figure.subplots()
        for backbone, x, y in lines:
            plain = len(x) > 40
            _line(axes, story.styles[backbone], x, y, **({"marker": ""} if plain else {}))
        for x, y in marks:
            axes.plot([x], [y], "o", ms=12, mfc="none", mec=INK, mew=1.4)
        axes.set_ylim(-0.04, 1.04)
        axes.axvline(0, color=RULE, lw=0.8, zorder=0)
        axes.set_xlabel("diagonal shift (pixels down and right)")
        axes.set_ylabel("p(true class)")
        return inline(figure, prefix, alt)


def _span(rate: Rate) -> tuple[float, float]:
    low, high = rate.low, rate.high
    if np.isnan(low):
        return 0.0, 0.0
    return max(0.0, rate.value - low), max(0.0, high - rate.value)


def scatter(story: Story, found: Sequence[Shifts], width: int, prefix: str, alt: str) -> Markup:
    """Clean accuracy to the right, pair consistency upwards, both with their intervals; a thin
    arrow from the first backbone to each other one.
    """
    with canvas(width, 340) as figure:
        axes = figure.subplots()
        places = [(one.clean.value, one.consistency(one.radius).value) for one in found]
        for number, place in enumerate(places[1:], 1):
            arrow = {"arrowstyle": "-|>", "color": INK, "lw": 0.8, "shrinkA": 7, "shrinkB": 7}
            drawn = axes.annotate("", place, places[0], arrowprops=arrow, zorder=4)
            if drawn.arrow_patch is not None:
                drawn.arrow_patch.set_gid(f"arrow-{number}")
        for one in found:
            style, x, y = story.styles[one.backbone], one.clean, one.consistency(one.radius)
            axes.errorbar(
                *([x.value], [y.value], [[s] for s in _span(y)], [[s] for s in _span(x)]),
                color=style.colour,
                lw=1.4,
            )
            _line(axes, style, [x.value], [y.value], ms=10)
        _percent(axes)
        _percent(axes, "x")
        axes.margins(0.12)
        axes.grid(lw=0.6)
        axes.set_axisbelow(True)
        axes.set_xlabel("clean accuracy (shift 0)")
        axes.set_ylabel("pair consistency")
        return inline(figure, prefix, alt)


def bars(
    story: Story,
    names: Sequence[str],
    panels: Sequence[tuple[str, Sequence[Rate]]],
    width: int,
    prefix: str,
    alt: str,
) -> Markup:
    """One panel a measure, one bar a backbone, with its interval."""
    across = width > 500
    rows = len(panels) if not across else 1
    tall = 26 * len(names) + 70
    with canvas(width, rows * tall + 16) as figure:
        shape = (1, len(panels)) if across else (len(panels), 1)
        grid: Any = figure.subplots(*shape, squeeze=False, sharey=across)
        places = np.arange(len(names))[::-1]
        for axes, (title, rates) in zip(grid.ravel(), panels, strict=True):
            for place, name, rate in zip(places, names, rates, strict=True):
                if rate.n:
                    axes.barh([place], [rate.value], 0.62, color=story.styles[name].colour)
                    low, high = _span(rate)
                    axes.errorbar([rate.value], [place], xerr=[[low], [high]], color=INK, lw=1.4)
            axes.set_title(title, loc="left", fontsize=12, color=INK)
            axes.set_xlim(0, max(0.02, *(r.value + _span(r)[1] for r in rates if r.n)) * 1.05)
            axes.locator_params(axis="x", nbins=4)
            _percent(axes, "x")
        short = [n if len(n) <= LETTERS else f"{n[: LETTERS - 1]}…" for n in names]
        for axes in grid[:, 0]:
            axes.set_yticks(places, short)
        return inline(figure, prefix, alt)


def by_radius(story: Story, found: Sequence[Shifts], width: int, prefix: str, alt: str) -> Markup:
    """What stays right at every shift, against the radius; the clean accuracy stands at 0."""
    with canvas(width, 320) as figure:
        axes = figure.subplots()
        for one in found:
            style = story.styles[one.backbone]
            x = [0, *one.radii]
            rates = [one.clean, *(one.worst(r) for r in one.radii)]
            _line(axes, style, x, [r.value for r in rates])
            if len(found) <= 5:
                lows, highs = [r.low for r in rates], [r.high for r in rates]
                axes.fill_between(x, lows, highs, color=style.colour, alpha=0.15, lw=0)
        axes.set_ylim(-0.03, 1.03)
        axes.set_xticks([0, *found[0].radii])
        _percent(axes)
        axes.grid(axis="y", lw=0.6)
        axes.set_xlabel("radius (pixels)", color=MUTED)
        axes.set_ylabel("right at every shift")
        return inline(figure, prefix, alt)
