"""Block diagrams: a network as a chain of its parts, and the inside of the first that branches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from robustlab.reporting.anatomy.charts import cut
from robustlab.reporting.anatomy.found import Layer, Network, short
from robustlab.reporting.section import Story
from robustlab.reporting.svg import INK, MUTED, PAPER, RULE, canvas, inline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Block", "branching", "chain", "diagram"]

MOST = 26  # blocks of a diagram
WIDTHS = {"wide": 880, "narrow": 370}


@dataclass
class Block:
    """A box: layers of one part of the network, and the boxes that it reads."""

    name: str
    layers: list[Layer] = field(default_factory=list)
    sources: set[int] = field(default_factory=set)

    @property
    def told(self) -> str:
        """What is in it: the output, parameters, and how far it sees."""
        shape = self.layers[-1].texts["output_shape"].replace("x", "×")
        parameters = sum(one.get("parameters") for one in self.layers)
        seen = self.layers[-1].get("field_columns")
        parts = [shape]
        parts += [f"{short(parameters)} par."] if parameters else []
        parts += [f"sees {seen:.0f} px"] if seen == seen else []
        return " · ".join(parts)


def chain(network: Network) -> list[Block]:
    """Consecutive layers of one part in a box, parts as fine as there is room for."""
    ran = [one for one in network.layers if one.ran]
    best: list[Block] = []
    for depth in range(1, 12):
        blocks = _grouped(ran, depth)
        if len(blocks) > MOST and best:
            break
        finer = len(blocks) > len(best)
        best = blocks[:MOST] if finer else best
        if len(best) >= 8 and depth > 1:
            break
    return best


def _grouped(layers: Sequence[Layer], depth: int) -> list[Block]:
    blocks: list[Block] = []
    home: dict[int, int] = {}
    for one in layers:
        name = ".".join(one.path.split(".")[:depth])
        if one.path.count(".") < depth and ":" in one.name:
            name = one.name
        if not blocks or blocks[-1].name != name:
            blocks.append(Block(name))
        here = len(blocks) - 1
        blocks[-1].layers.append(one)
        blocks[-1].sources |= {home[s] for s in one.sources if s in home} - {here}
        home[one.number] = here
    return blocks


def branching(network: Network) -> tuple[str, list[Block]] | None:
    """The first part in which paths meet: its name and its layers, a box each."""
    ran = [one for one in network.layers if one.ran]
    for joint in ran:
        inside = [one for one in ran if one.path == joint.path or _within(one, joint.path)]
        if len(joint.sources) < 2 or ":" not in joint.name or not 3 <= len(inside) <= MOST:
            continue
        numbers = {one.number: place for place, one in enumerate(inside, 1)}
        blocks = [Block("what comes in")]
        for one in inside:
            below = {numbers.get(source, 0) for source in one.sources} or {0}
            name = one.name.removeprefix(f"{joint.path}.").removeprefix(joint.path)
            blocks.append(Block(name.lstrip(":"), [one], below))
        return joint.path, blocks
    return None


def _within(one: Layer, path: str) -> bool:
    return one.path.startswith(f"{path}.")


def _depths(blocks: Sequence[Block]) -> list[int]:
    """Longest way from the image to each box."""
    found: list[int] = []
    for one in blocks:
        found.append(1 + max((found[s] for s in one.sources), default=-1))
    return found


def diagram(story: Story, network: Network, blocks: Sequence[Block], prefix: str) -> dict[str, Any]:
    """Boxes from top to bottom; side by side where neither reads the other."""
    depths = _depths(blocks)
    rows: Mapping[int, list[int]] = {
        depth: [i for i, d in enumerate(depths) if d == depth] for depth in sorted(set(depths))
    }
    names = " then ".join(one.name for one in blocks)
    alt = f"Block diagram of {network.backbone}: {names}."
    colour = story.styles[network.backbone].colour
    return {
        kind: _draw(blocks, rows, colour, width, f"{prefix}-{kind[0]}", alt)
        for kind, width in WIDTHS.items()
    }


def _draw(
    blocks: Sequence[Block],
    rows: Mapping[int, list[int]],
    colour: str,
    width: int,
    prefix: str,
    alt: str,
) -> Any:
    across = max(len(row) for row in rows.values())
    wide = min(0.94 / across, 330 / width if width > 500 else 0.94)
    middles: dict[int, tuple[float, float]] = {}
    with canvas(width, 16 + 54 * len(rows)) as figure:
        axes = figure.subplots()
        axes.set_axis_off()
        axes.set_xlim(0, 1)
        axes.set_ylim(len(rows), 0)
        for depth, row in rows.items():
            lefts = np.arange(len(row)) - (len(row) - 1) / 2
            for place, index in zip(lefts, row, strict=True):
                middles[index] = (0.5 + float(place) * (wide + 0.012), depth + 0.42)
        for index, one in enumerate(blocks):
            for source in one.sources:
                _arrow(axes, middles[source], middles[index], wide)
        letters = int(wide * width / 7.6)
        for index, one in enumerate(blocks):
            _box(axes, one, middles[index], wide, letters, colour)
        return inline(figure, prefix, alt)


def _box(
    axes: Axes, one: Block, middle: tuple[float, float], wide: float, letters: int, colour: str
) -> None:
    from matplotlib.patches import Rectangle

    x, y = middle
    weighted = any(layer.get("weights") > 0 for layer in one.layers)
    corner = (x - wide / 2, y - 0.31)
    axes.add_patch(Rectangle(corner, wide, 0.62, facecolor=PAPER, edgecolor="none", zorder=2))
    axes.add_patch(
        Rectangle(
            corner,
            wide,
            0.62,
            facecolor=colour,
            alpha=0.22 if weighted else 0.05,
            edgecolor="none",
            zorder=3,
        )
    )
    axes.add_patch(Rectangle(corner, wide, 0.62, fill=False, edgecolor=RULE, lw=1, zorder=3))
    told = one.told if one.layers else ""
    axes.text(
        x,
        y - (0.13 if told else 0),
        cut(one.name, letters),
        ha="center",
        va="center",
        fontsize=12,
        color=INK,
        zorder=4,
    )
    if told:
        axes.text(
            x,
            y + 0.15,
            cut(told, int(letters * 1.25)),
            ha="center",
            va="center",
            fontsize=9.5,
            color=MUTED,
            zorder=4,
        )


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], wide: float) -> None:
    """Straight down to the next row; around the boxes between, where there are some."""
    (x, y), (to, down) = start, end
    far = down - y > 1.5 and abs(x - to) < wide / 2
    bend = "arc3,rad=0" if not far else "arc3,rad=-0.45"
    side = wide / 2 if far else 0.0
    axes.annotate(
        "",
        (to + side, down - (0.0 if far else 0.31)),
        (x + side, y + (0.0 if far else 0.31)),
        arrowprops={
            "arrowstyle": "-|>",
            "color": MUTED,
            "lw": 1,
            "connectionstyle": bend,
            "shrinkA": 0,
            "shrinkB": 0,
        },
        zorder=1,
    )
