"""Curves over the layers: how far a map is from moving along, and how many of its values change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from robustlab.reporting.invariance.layers_found import MINIMUM, Found
from robustlab.reporting.layer_axis import WIDTHS, layer_axis, short
from robustlab.reporting.section import Story
from robustlab.reporting.svg import INK, MUTED, RULE, canvas, inline
from robustlab.statistics import Rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["curves"]

HEIGHTS = (250, 130, 95)  # page pixels: errors, shares changed, and the layers' names below both
MEASURES = ("best_roll", "aligned", "fractional", "in_place")


def curves(
    story: Story, found: Sequence[Found], prefix: str
) -> tuple[dict[str, Any], list[list[Any]]]:
    """Drawings by width, one pair of panels a backbone, and the data of all shifts as rows."""
    drawn = {
        kind: [
            _draw(story, one, kind, f"{prefix}-{place}-{kind[0]}")
            for place, one in enumerate(found)
        ]
        for kind in WIDTHS
    }
    return drawn, [row for one in found for row in _rows(one)]


def _rows(one: Found) -> list[list[Any]]:
    rows = []
    for place, name in enumerate(one.names):
        for s, shift in enumerate(one.shifts):
            where = f"({shift[0]}, {shift[1]})"
            for measure in (*MEASURES, "cosine", "changed", "changed_at_all"):
                rate = one.mean(measure, place, s)
                if rate.n:
                    rows.append([one.backbone, name, where, measure, *_numbers(rate)])
            for measure in ("in_place", "best_roll"):
                rate = one.unrelated(measure, place, s)
                if rate.n:
                    rows.append(
                        [one.backbone, name, where, f"unrelated_{measure}", *_numbers(rate)]
                    )
    return rows


def _numbers(rate: Rate) -> list[Any]:
    return [float(rate.value), float(rate.low), float(rate.high), rate.n]


def _draw(story: Story, one: Found, kind: str, prefix: str) -> Any:
    width = WIDTHS[kind][0]
    colour = story.styles[one.backbone].colour
    alt = f"{one.backbone}: errors and shares changed, layer by layer; the table below tells them."
    with canvas(width, sum(HEIGHTS)) as figure:
        top, bottom = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": HEIGHTS[:2]})
        _errors(top, one, colour, story.styles[one.backbone].marker)
        _changed(bottom, one, colour, story.styles[one.backbone].marker)
        layer_axis(bottom, one.names, kind)
        top.set_title(short(one.backbone, 44), loc="left", fontsize=12, color=INK, pad=4)
        handles, labels = top.get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="outside upper left",
            ncols=4 if kind == "wide" else 2,
            frameon=False,
            fontsize=11,
            labelcolor=INK,
        )
        return inline(figure, prefix, alt)


def _errors(axes: Axes, one: Found, colour: str, marker: str) -> None:
    """Log scale; what is exact lies on the floor."""
    axes.set_yscale("log")
    styles: dict[str, dict[str, Any]] = {
        "best_roll": {"marker": marker, "ls": "-", "label": "best roll"},
        "aligned": {
            "marker": "x",
            "ls": "none",
            "ms": 8,
            "label": "aligned, where the stride allows",
        },
        "fractional": {"ls": "-.", "label": "by parts of a cell"},
        "in_place": {"marker": ".", "ls": ":", "label": "in place"},
    }
    for measure, style in styles.items():
        _line(axes, [one.mean(measure, p) for p in range(len(one.names))], colour, **style)
    unrelated = [
        one.unrelated("best_roll" if p in one.maps else "in_place", p)
        for p in range(len(one.names))
    ]
    _line(axes, unrelated, INK, ls="--", label="unrelated images", band=False)
    axes.set_ylim(MINIMUM / 2, 8)
    axes.set_yticks(
        [MINIMUM, 1e-4, 1e-3, 1e-2, 1e-1, 1], ["≤ 10⁻⁵", "10⁻⁴", "0.001", "0.01", "0.1", "1"]
    )
    axes.minorticks_off()
    axes.grid(axis="y", lw=0.6)
    axes.axhline(MINIMUM, color=RULE, lw=0.7)
    axes.set_ylabel("error", color=MUTED)
    axes.tick_params(axis="x", length=0, labelbottom=False)


def _changed(axes: Axes, one: Found, colour: str, marker: str) -> None:
    shares = [one.mean("changed", p) for p in range(len(one.names))]
    _line(axes, shares, colour, marker=marker, ls="-", floor=0.0)
    axes.set_ylim(-0.04, 1.04)
    axes.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    axes.grid(axis="y", lw=0.6)
    axes.set_ylabel("changed", color=MUTED)


def _line(
    axes: Axes,
    rates: Sequence[Rate],
    colour: str,
    *,
    band: bool = True,
    floor: float = MINIMUM,
    **style: Any,
) -> None:
    """Gaps where nothing was measured; a band between the intervals' ends."""
    ends = [[r.value, r.low, r.high] if r.n else [np.nan] * 3 for r in rates]
    value, low, high = (np.maximum(column, floor) for column in np.array(ends, dtype=float).T)
    x = np.arange(len(rates))
    if not np.isfinite(value).any():
        return
    axes.plot(x, value, color=colour, lw=1.6, **({"ms": 5} | style))
    if band and style.get("ls") == "-":
        axes.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)
