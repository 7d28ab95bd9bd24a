"""Charts of the section: parameters against multiply-adds, and receptive field against depth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from robustlab.reporting.anatomy.found import KINDS, Network
from robustlab.reporting.section import Story
from robustlab.reporting.svg import INK, MUTED, PAPER, RULE, canvas, inline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["fields_chart", "shares_chart"]

WIDTHS = {"wide": 880, "narrow": 370}
_HATCH = {"convolution": "", "fully connected": "////", "locally connected": "xx", "the rest": ".."}
_ALPHA = {"convolution": 0.9, "fully connected": 0.3, "locally connected": 0.5, "the rest": 0.12}
_WHAT = (("parameters", "parameters"), ("multiply_adds", "multiply-adds"))


def cut(name: str, letters: int) -> str:
    return name if len(name) <= letters else f"{name[: letters - 1]}…"


def shares_chart(story: Story, found: Sequence[Network]) -> dict[str, Any]:
    """Two bars a backbone, each of length one, split by the kind of layer."""
    alt = "; ".join(
        f"{one.backbone}: " + ", ".join(_shares(one, column, word) for column, word in _WHAT)
        for one in found
    )
    return {
        kind: _draw_shares(story, found, width, f"anatomy-shares-{kind[0]}", alt)
        for kind, width in WIDTHS.items()
    }


def _shares(one: Network, column: str, word: str) -> str:
    if math.isnan(one.share(column, "the rest")):
        return f"{word} not known"
    parts = [f"{part} {100 * one.share(column, part):.1f} %" for part in KINDS]
    return f"{word} {', '.join(parts)}"


def _draw_shares(story: Story, found: Sequence[Network], width: int, prefix: str, alt: str) -> Any:
    narrow = width < 500
    with canvas(width, 46 + 76 * len(found)) as figure:
        axes = figure.subplots()
        for place, one in enumerate(found):
            axes.text(0, 3 * place - 0.75, cut(one.backbone, 40), color=INK, fontsize=13)
            for offset, (column, word) in enumerate(_WHAT):
                _bar(axes, story, one, column, 3 * place + 0.05 + 0.85 * offset)
                axes.text(
                    -0.01,
                    3 * place + 0.05 + 0.85 * offset,
                    "mult-adds" if narrow and offset else word,
                    ha="right",
                    va="center",
                    color=MUTED,
                    fontsize=12,
                )
        axes.set_ylim(3 * len(found) - 1, -1.5)
        axes.set_xlim(0, 1)
        axes.set_yticks([])
        axes.set_xticks(np.linspace(0, 1, 5), ["0", "25", "50", "75", "100 %"])
        return inline(figure, prefix, f"Shares by kind of layer. {alt}.")


def _bar(axes: Axes, story: Story, one: Network, column: str, at: float) -> None:
    left = 0.0
    if math.isnan(one.share(column, "the rest")):
        axes.text(0.01, at, "not known", va="center", fontsize=11, color=MUTED)
        return
    for part in KINDS:
        share = one.share(column, part)
        if share <= 0:
            continue
        axes.barh(
            at,
            share,
            0.72,
            left,
            color=story.styles[one.backbone].colour,
            alpha=_ALPHA[part],
            hatch=_HATCH[part],
            edgecolor=PAPER,
            lw=0.8,
        )
        if share > 0.16:
            text = f"{part} {100 * share:.0f} %" if share > 0.42 else f"{100 * share:.0f} %"
            box = {"facecolor": PAPER, "edgecolor": "none", "pad": 1.5}
            axes.text(
                left + share / 2,
                at,
                text,
                ha="center",
                va="center",
                fontsize=11,
                color=INK,
                bbox=box,
            )
        left += share


def fields_chart(story: Story, found: Sequence[Network]) -> dict[str, Any] | None:
    """Receptive field (columns) against depth, one line a backbone, the image's width dashed."""
    shown = [one for one in found if _line(one)]
    if not shown:
        return None
    alt = "; ".join(f"{one.backbone}, last map: {one.sees}" for one in shown)
    return {
        kind: _draw_fields(story, shown, width, f"anatomy-fields-{kind[0]}", alt)
        for kind, width in WIDTHS.items()
    }


def _line(one: Network) -> list[tuple[int, float]]:
    """(place among the layers with windows, field) of layers whose field is known."""
    fields = [layer.get("field_columns") for layer in one.maps]
    return [(place, field) for place, field in enumerate(fields, 1) if not math.isnan(field)]


def _draw_fields(story: Story, found: Sequence[Network], width: int, prefix: str, alt: str) -> Any:
    with canvas(width, 340) as figure:
        axes = figure.subplots()
        for one in found:
            style, line = story.styles[one.backbone], _line(one)
            x, y = [p for p, _ in line], [f for _, f in line]
            marker = style.marker if len(line) <= 40 else ""
            (drawn,) = axes.plot(x, y, marker=marker, ms=5, color=style.colour, lw=1.8)
            if style.dash:
                drawn.set_dashes(style.dash)
        for size in sorted({one.image[2] for one in found}):
            axes.axhline(size, color=INK, lw=1, dashes=(4, 3))
            axes.text(1, size, f"image: {size} pixels", va="bottom", color=MUTED, fontsize=12)
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.grid(axis="y", lw=0.6, color=RULE)
        axes.minorticks_off()
        axes.locator_params(axis="x", integer=True)
        axes.set_xlabel("layers with windows or weights, from the image on")
        axes.set_ylabel("receptive field (pixels)")
        return inline(figure, prefix, f"Receptive field against depth. {alt}.")
