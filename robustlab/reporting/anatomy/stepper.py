"""A row of pixels under the windows of one layer: padding, steps, and what no window reaches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from robustlab.reporting.anatomy.found import Layer, Network
from robustlab.reporting.svg import INK, MUTED, PAPER, RULE, canvas, inline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["chosen", "stepper", "unreached"]

WIDTHS = {"wide": (880, 34), "narrow": (370, 17)}  # page pixels, cells
RED = "#c8372d"


def _columns(layer: Layer) -> tuple[int, int, int, int, int, int]:
    """Size, kernel, stride, padding, dilation and output, along a row of pixels."""
    size = int(layer.texts["input_shape"].split("x")[-1])
    numbers = [
        int(layer.texts[name].split("x")[1]) for name in ("kernel", "stride", "padding", "dilation")
    ]
    return size, numbers[0], numbers[1], numbers[2], numbers[3], layer.output[2]


def chosen(found: Sequence[Network]) -> tuple[Network, Layer] | None:
    """The first layer that drops columns; failing that, that does not fit; failing that, that has a
    stride; failing that, the first with a window.
    """
    held = [
        (network, layer)
        for network in found
        for layer in network.layers
        if layer.texts["kernel"] and layer.kind != "transposed convolution" and layer.output[1:]
    ]
    wanted = (
        lambda one: one.get("dropped_columns") > 0,
        lambda one: one.get("fits") == 0,
        lambda one: _columns(one)[2] > 1,
        lambda one: _columns(one)[1] > 1,
    )
    for test in wanted:
        for network, layer in held:
            if test(layer):
                return network, layer
    return None


def unreached(layer: Layer) -> tuple[int, int]:
    """Pixels of a row that no window reads: between windows, and behind the last one."""
    size, kernel, stride, padding, dilation, out = _columns(layer)
    seen = _read(kernel, stride, padding, dilation, out)
    missed = [cell for cell in range(size) if cell not in seen]
    return sum(cell < max(seen) for cell in missed), sum(cell > max(seen) for cell in missed)


def _read(kernel: int, stride: int, padding: int, dilation: int, out: int) -> set[int]:
    """Places that windows read, those of the padding included."""
    return {w * stride - padding + k * dilation for w in range(out) for k in range(kernel)}


def stepper(layer: Layer) -> dict[str, Any]:
    """Wide and narrow drawings; the middle of a long row is left out."""
    size, kernel, stride, padding, _, out = _columns(layer)
    alt = (
        f"{layer.name}: {out} windows of {kernel} over {size} pixels with padding {padding}, "
        f"each {stride} on from the last; {layer.get('dropped_columns'):.0f} columns dropped."
    )
    return {
        kind: _draw(layer, width, cells, f"anatomy-stepper-{kind[0]}", alt)
        for kind, (width, cells) in WIDTHS.items()
    }


def _draw(layer: Layer, width: int, cells: int, prefix: str, alt: str) -> Any:
    size, kernel, stride, padding, dilation, out = _columns(layer)
    reach = dilation * (kernel - 1) + 1
    first, end = -padding, max(size + padding, (out - 1) * stride - padding + reach)
    head, tail = _shown(first, end, cells)
    windows = [w for w in range(out) if _whole(w * stride - padding, reach, head, tail)]
    with canvas(width, 78 + 15 * len(windows)) as figure:
        axes = figure.subplots()
        axes.set_axis_off()
        places = {cell: x for x, cell in enumerate(head)}
        places |= {cell: x + len(head) + 1 for x, cell in enumerate(tail)}
        right = len(head) + (len(tail) + 1 if tail else 0)
        axes.set_xlim(-0.4, max(right, 12) + 0.4)
        axes.set_ylim(2.8 + 0.75 * len(windows), -0.9)
        seen = _read(kernel, stride, padding, dilation, out)
        for cell, x in places.items():
            _cell(axes, x, cell, size, cell in seen)
        lost = [x for cell, x in places.items() if max(seen) < cell < size]
        if lost:
            centre, edge = sum(lost) / len(lost) + 0.5, max(right, 12) + 0.4
            _word(axes, min(centre, edge - (0.9 if width > 500 else 1.9)))
        if tail:
            axes.text(len(head) + 0.5, 0.5, "…", ha="center", va="center", color=MUTED)
        for row, window in enumerate(windows):
            start = window * stride - padding
            reads = [places[start + k * dilation] for k in range(kernel)]
            y = 1.55 + 0.75 * row
            axes.plot([reads[0] + 0.1, reads[-1] + 0.9], [y, y], color=INK, lw=1.6)
            axes.plot([x + 0.5 for x in reads], [y] * len(reads), "o", ms=3.2, color=INK)
        return inline(figure, prefix, alt)


def _shown(first: int, end: int, cells: int) -> tuple[range, range]:
    """All cells, or as many from the front and the back as there is room for."""
    if end - first <= cells:
        return range(first, end), range(0)
    half = (cells - 1) // 2
    return range(first, first + half), range(end - half, end)


def _whole(start: int, reach: int, head: range, tail: range) -> bool:
    return any(start in part and start + reach - 1 in part for part in (head, tail) if part)


def _cell(axes: Axes, x: int, cell: int, size: int, seen: bool) -> None:
    from matplotlib.patches import Rectangle

    inside = 0 <= cell < size
    face = RED if inside and not seen else RULE if inside else PAPER
    hatch = "" if inside else "////"
    axes.add_patch(Rectangle((x, 0), 1, 1, facecolor=face, edgecolor=MUTED, lw=0.7, hatch=hatch))


def _word(axes: Axes, x: float) -> None:
    axes.text(x, -0.35, "dropped", ha="center", va="center", fontsize=10, color=RED)
