"""The drawing of `losses`: small multiples, one a search, each on axes of its own.

Losses of different searches are in different units, so no two panels share an axis. Under each
panel stands how many images are still searched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from robustlab.reporting.section import Story
from robustlab.reporting.svg import INK, MUTED, canvas, inline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["BANDS", "FLOOR", "Drawn", "draw_losses", "spread"]

BANDS = 3  # with more backbones than this, bands would hide the lines
FLOOR = 1e-7  # float32 tells no smaller cross-entropy from 0
SIZES = {"wide": (880, 2, 50), "narrow": (370, 1, 40)}  # width, columns, letters of a panel's name
HEIGHT = 270  # of a row of panels

Losses = NDArray[np.float64]


class Drawn(Protocol):
    """What the drawing needs of a curve."""

    @property
    def backbone(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def eps(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def loss(self) -> Losses: ...
    @property
    def inside(self) -> NDArray[np.int64]: ...


def spread(loss: Losses) -> Losses:
    """Quartiles and median [3, steps] over the images still searched; NaN where none is."""
    found = np.full((3, loss.shape[1]), np.nan)
    for step, column in enumerate(loss.T):
        values = column[np.isfinite(column)]
        if len(values):
            found[:, step] = np.quantile(values, [0.25, 0.5, 0.75])
    return found


def draw_losses(story: Story, curves: Sequence[Drawn]) -> dict[str, Any]:
    """The figure in its two widths."""
    panels: dict[str, list[Drawn]] = {}
    for curve in curves:
        panels.setdefault(curve.label, []).append(curve)
    alt = f"Loss against step of {len(panels)} searches; the numbers stand in the table below."
    drawings = {}
    for kind, (width, columns, letters) in SIZES.items():
        columns = min(columns, len(panels))
        rows = -(-len(panels) // columns)
        with canvas(width, HEIGHT * rows) as figure:
            grid = figure.add_gridspec(2 * rows, columns, height_ratios=[4, 1] * rows)
            for place, (label, drawn) in enumerate(panels.items()):
                row, column = divmod(place, columns)
                above = figure.add_subplot(grid[2 * row, column])
                below = figure.add_subplot(grid[2 * row + 1, column], sharex=above)
                _panel(story, above, drawn, _named(label, drawn, letters))
                _inside(story, below, drawn)
            figure.align_ylabels()
            drawings[kind] = inline(figure, f"loss-{kind[0]}", alt)
    return drawings


def _named(label: str, drawn: Sequence[Drawn], letters: int) -> str:
    """The panel's name and eps, cut to what fits; the table has it whole."""
    eps = " and ".join(dict.fromkeys(c.eps for c in drawn if c.eps))
    at = f", eps {eps}" if eps else ""
    room = letters - len(at)
    return f"{label if len(label) <= room else f'{label[: room - 1]}…'}{at}"


def _panel(story: Story, axes: Axes, drawn: Sequence[Drawn], name: str) -> None:
    logarithmic = drawn[0].unit == "cross-entropy" and all(
        np.nanmin(c.loss, initial=0.0) >= 0 for c in drawn
    )
    for curve in drawn:
        style = story.styles[curve.backbone]
        values = spread(curve.loss)
        if logarithmic:
            values = np.maximum(values, FLOOR)
        steps = np.arange(1, values.shape[1] + 1)
        if len(story.styles) <= BANDS:
            axes.fill_between(steps, values[0], values[2], color=style.colour, alpha=0.16, lw=0)
        dashes = (0, style.dash) if style.dash else "solid"
        axes.plot(steps, values[1], color=style.colour, ls=dashes, lw=2)
    if logarithmic:
        axes.set_yscale("log")
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_title(name, loc="left", fontsize=13, color=INK)
    axes.set_ylabel(drawn[0].unit, fontsize=12)
    axes.grid(axis="y", lw=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", labelbottom=False, length=0)


def _inside(story: Story, axes: Axes, drawn: Sequence[Drawn]) -> None:
    """How many images are still searched, step by step."""
    from matplotlib.ticker import MaxNLocator

    most = max(int(c.inside.max(initial=1)) for c in drawn)
    for curve in drawn:
        style = story.styles[curve.backbone]
        steps = np.arange(1, len(curve.inside) + 1)
        dashes = (0, style.dash) if style.dash else "solid"
        axes.plot(steps, curve.inside, color=style.colour, ls=dashes, lw=1.4, drawstyle="steps-mid")
    axes.set_ylim(0, most * 1.15)
    axes.set_yticks([0, most], ["0", str(most)])
    axes.set_ylabel("images", fontsize=12)
    axes.set_xlabel("step", fontsize=12, color=MUTED)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
