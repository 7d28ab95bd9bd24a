"""Figures of the page of twins: every training a dot, means with their t intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from robustlab.kinds import Key, Kinds
from robustlab.reporting.palette import Style
from robustlab.reporting.svg import INK, MUTED, RULE, canvas, inline
from robustlab.reporting.twins.words import ends, is_rate, mean_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["rows", "scatter"]

WIDTHS = {"wide": 880, "narrow": 370}
ROW = 30  # page pixels of a twin


def rows(kinds: Kinds, styles: Mapping[str, Style], key: Key, place: int) -> dict[str, Any]:
    """One number: a row a twin, its trainings and their mean; wide and narrow."""
    rate = is_rate(kinds, key)
    told = "; ".join(f"{t}: {mean_text(kinds.mean(key, t), rate)}" for t in kinds.twins)
    drawn = {}
    for kind, width in WIDTHS.items():
        with canvas(width, 60 + ROW * len(kinds.twins)) as figure:
            axes = figure.subplots()
            for row, twin in enumerate(reversed(kinds.twins)):
                _row(axes, kinds, key, twin, styles[twin], row, 100.0 if rate else 1.0)
            axes.set_yticks(range(len(kinds.twins)), list(reversed(kinds.twins)))
            if rate:
                _within(axes, "x")
            axes.set_ylim(-0.6, len(kinds.twins) - 0.4)
            axes.set_xlabel(f"{key.metric.replace('_', ' ')}{' (%)' if rate else ''}")
            axes.grid(axis="x", lw=0.6, color=RULE)
            drawn[kind] = inline(figure, f"twins-{place}-{kind[0]}", f"{key}. {told}.")
    return drawn


def _within(axes: Axes, which: Literal["x", "y"]) -> None:
    """Shares lie between 0 and 100 %, so axis and ticks do; marks at the ends stay whole."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    ends_ = {f"{which}lim": (max(low, -3.0), min(high, 103.0))}
    axes.set(**ends_)
    axis.set_ticks([one for one in axis.get_majorticklocs() if 0 <= one <= 100])
    axes.set(**ends_)  # ticks may have widened it


def _row(
    axes: Axes, kinds: Kinds, key: Key, twin: str, style: Style, row: int, factor: float
) -> None:
    values, mean = kinds.values[key][twin] * factor, kinds.mean(key, twin)
    # A little apart, so that equal values are seen to be several.
    apart = [row + 0.16 * ((i % 3) - 1) for i in range(len(values))]
    axes.plot(values, apart, style.marker, ms=5, color=style.colour, alpha=0.45, mew=0)
    if not math.isnan(mean.low):
        low, high = ends(mean, factor != 1.0)  # as the table tells them
        axes.plot([factor * low, factor * high], [row, row], color=INK, lw=1.4)
    axes.plot([factor * mean.value], [row], style.marker, ms=9, color=style.colour, mec=INK)


def scatter(kinds: Kinds, styles: Mapping[str, Style], across: Key, up: Key) -> dict[str, Any]:
    """Two numbers of the same trainings against each other, as shift and adversarial robustness."""
    factors = [100.0 if is_rate(kinds, key) else 1.0 for key in (across, up)]
    told = "; ".join(
        f"{t}: {kinds.mean(across, t).value * factors[0]:.1f} and "
        f"{kinds.mean(up, t).value * factors[1]:.1f}"
        for t in kinds.twins
    )
    drawn = {}
    for kind, width in WIDTHS.items():
        with canvas(width, 380 if kind == "wide" else 320) as figure:
            axes = figure.subplots()
            for twin in kinds.twins:
                _cloud(axes, kinds, (across, up), factors, twin, styles[twin])
            if factors[0] != 1.0:
                _within(axes, "x")
            if factors[1] != 1.0:
                _within(axes, "y")
            axes.set_xlabel(_axis(across))
            axes.set_ylabel(_axis(up))
            axes.grid(lw=0.6, color=RULE)
            drawn[kind] = inline(figure, f"twins-both-{kind[0]}", f"{across} and {up}. {told}.")
    return drawn


def _cloud(
    axes: Axes,
    kinds: Kinds,
    keys: tuple[Key, Key],
    factors: Sequence[float],
    twin: str,
    style: Style,
) -> None:
    x, y = (kinds.values[key][twin] * f for key, f in zip(keys, factors, strict=True))
    axes.plot(x, y, style.marker, ms=5, color=style.colour, alpha=0.4, mew=0)
    axes.plot([x.mean()], [y.mean()], style.marker, ms=10, color=style.colour, mec=INK)
    place, offset = (float(x.mean()), float(y.mean())), (9, 6)
    axes.annotate(twin, place, offset, textcoords="offset points", color=MUTED, fontsize=12)


def _axis(key: Key) -> str:
    at = f", eps {key.eps}" if key.eps else ""
    return f"{key.metric.replace('_', ' ')} (%) [{key.probe}{at}]"
