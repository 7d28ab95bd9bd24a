"""Curves over the layers: amplification, units that flip, channels that restore, the read-out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from robustlab.reporting.filters.depth_trace_found import CONTROLS, Trace
from robustlab.reporting.layer_axis import WIDTHS, factor_ticks, layer_axis, short
from robustlab.reporting.section import Story
from robustlab.reporting.svg import INK, MUTED, RULE, canvas, inline
from robustlab.statistics import Rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["curves"]

HEIGHTS = (200, 130, 170, 130, 105)  # page pixels: four panels, the layers' names below
DASHED = {"gaussian": "--", "sign": "-.", "permuted": ":"}
NONE = 2.0  # where "no share is enough" is drawn, above all


def curves(
    story: Story, found: Sequence[Trace], prefix: str
) -> tuple[dict[str, Any], list[list[Any]]]:
    """Drawings by width, one a backbone, and the data as rows."""
    drawn = {
        kind: [
            _draw(story, one, kind, f"{prefix}-{place}-{kind[0]}")
            for place, one in enumerate(found)
        ]
        for kind in WIDTHS
    }
    return drawn, [row for one in found for row in _rows(one)]


def _rows(one: Trace) -> list[list[Any]]:
    rows = []
    for place, name in enumerate(one.names):
        told = {
            "amplification": one.amplification(place),
            **{f"amplification, {c}": one.control(c, place) for c in CONTROLS},
            "cosine": one.cosine(place),
            "flips": one.flips(place),
            **{f"flips, {c}": one.flips(place, c) for c in CONTROLS},
            "restoring share": one.restoring(place),
            "restoring share, random": one.restoring_random(place),
            **{f"read-out, {w}": one.own(w, place) for w in ("changed", "permuted")},
        }
        rows += [
            [one.backbone, name, measure, float(r.value), float(r.low), float(r.high), r.n]
            for measure, r in told.items()
            if r.n
        ]
    return rows


def _draw(story: Story, one: Trace, kind: str, prefix: str) -> Any:
    width = WIDTHS[kind][0]
    style = story.styles[one.backbone]
    alt = f"{one.backbone}: how far a changed image is, layer by layer; the table below tells them."
    solid: dict[str, Any] = {"marker": style.marker, "ls": "-", "colour": style.colour}
    places = range(len(one.names))
    with canvas(width, sum(HEIGHTS)) as figure:
        ratios = {"height_ratios": HEIGHTS[:4]}
        far, flips, back, read = figure.subplots(4, 1, sharex=True, gridspec_kw=ratios)
        far.set_yscale("log")
        _line(far, [one.amplification(p) for p in places], label=one.adjective, **solid)
        _line(flips, [one.flips(p) for p in places], **solid)
        for name, words in CONTROLS.items():
            dashed: dict[str, Any] = {"ls": DASHED[name], "colour": INK, "band": False}
            _line(far, [one.control(name, p) for p in places], label=words, **dashed)
            _line(flips, [one.flips(p, name) for p in places], **dashed)
        back.set_yscale("log")
        _line(back, [one.restoring(p) for p in places], **solid)
        by_chance = [one.restoring_random(p) for p in places]
        _line(back, by_chance, ls="--", colour=MUTED, marker="x", label="random channels")
        _line(read, [one.own("changed", p) for p in places], **solid)
        again = [one.own("permuted", p) for p in places]
        _line(read, again, ls=DASHED["permuted"], colour=INK, band=False)
        _axes(far, flips, back, read)
        layer_axis(read, one.names, kind)
        far.set_title(short(one.backbone, 44), loc="left", fontsize=12, color=INK, pad=4)
        handles = [*far.get_legend_handles_labels()[0], *back.get_legend_handles_labels()[0]]
        figure.legend(
            handles,
            [str(h.get_label()) for h in handles],
            loc="outside upper left",
            ncols=3 if kind == "wide" else 1,
            frameon=False,
            fontsize=11,
            labelcolor=INK,
        )
        return inline(figure, prefix, alt)


def _axes(far: Axes, flips: Axes, back: Axes, read: Axes) -> None:
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    far.yaxis.set_major_formatter(ScalarFormatter())
    low, high = far.get_ylim()
    ticks = factor_ticks(low, high)
    far.set_yticks(ticks, [f"{t:g}" for t in ticks])
    far.yaxis.set_minor_formatter(NullFormatter())
    far.axhline(1.0, color=RULE, lw=0.9)
    ends = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
    lowest = min(back.get_ylim()[0], 0.5)
    shown = [t for t in ends if t >= lowest / 1.5]
    names = {1e-4: "0.01 %", 1e-3: "0.1 %", 1e-2: "1 %", 1e-1: "10 %", 1.0: "100 %"}
    back.set_yticks([*shown, NONE], [*(names[t] for t in shown), "none"])
    back.set_ylim(lowest / 1.2, NONE * 1.3)
    flips.set_ylim(bottom=0.0)
    flips.yaxis.set_major_formatter(lambda v, _: f"{100 * v:.0f} %")
    read.set_ylim(-0.05, 1.05)
    read.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    titles = ("amplified", "units flipped", "channels", "read-out")
    for axes, title in zip((far, flips, back, read), titles, strict=True):
        axes.minorticks_off()
        axes.grid(axis="y", lw=0.6)
        axes.set_ylabel(title, color=MUTED, fontsize=12)
        if axes is not read:
            axes.tick_params(axis="x", length=0, labelbottom=False)


def _line(
    axes: Axes, rates: Sequence[Rate], *, colour: str, band: bool = True, **style: Any
) -> None:
    """Gaps where nothing was measured; a band between the intervals' ends, where there are any."""
    ends = [[r.value, r.low, r.high] if r.n else [math.nan] * 3 for r in rates]
    value, low, high = np.array(ends, dtype=float).T
    open_ = np.isneginf(low) | np.isnan(low)
    low, high = np.where(open_, math.nan, low), np.where(open_, math.nan, high)
    value, low, high = (np.where(np.isposinf(v), NONE, v) for v in (value, low, high))
    x = np.arange(len(rates))
    axes.plot(x, value, color=colour, lw=1.6, ms=5, clip_on=False, **style)
    if band and np.isfinite(low).any():
        axes.fill_between(x, low, high, color=colour, alpha=0.18, lw=0)
