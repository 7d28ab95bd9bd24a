"""Inside the network while it learns: filters of the first layer, norms of gradients and weights.

Filters share one scale, centred on zero, so that they can be compared over the epochs. Norms are
strips of colour, one a layer, on one logarithmic scale: names of layers stay text of the page.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.reporting.pixels import data_uri, scale_for
from robustlab.reporting.training.record import Floats, Layers, Snapshots, Training
from robustlab.verdict import code, plural

__all__ = ["filters", "norms"]

FILTERS, FILTER_BYTES = 64, 400_000  # filters of a snapshot; bytes of all pictures together
FEWEST = 6  # snapshots that are shown before filters are
LARGEST_FILTER = 256  # pixels of a side
LAYERS, STRIP = 60, 400  # layers that are shown; colours of a strip
SMALL, LARGE = 1e-3, 1e3  # first over last layer: outside of these, vanishing and exploding
SPIKE = 100.0  # an epoch's gradient over the median epoch's


def filters(snapshots: Snapshots | None) -> dict[str, Any] | None:
    """What the template needs of the first layer's filters: a row a snapshot."""
    if snapshots is None:
        return None
    held = snapshots.filters
    count, channels, height, width = held.shape[1:]
    if max(height, width) > LARGEST_FILTER:
        return None
    finite = np.nan_to_num(held, nan=0.0, posinf=0.0, neginf=0.0)
    bytes_each = (3 * height * width + 70) * 4 // 3
    shown = min(count, FILTERS, max(8, FILTER_BYTES // (bytes_each * FEWEST)))
    drawn = finite[:, :shown]
    places = _evenly(len(held), max(2, FILTER_BYTES // (bytes_each * shown)))
    ends = _scale(drawn)
    room = min(64, max(32, 640 // shown))
    return {
        "title": _filters_title(snapshots.epochs, finite),
        "rows": [
            (snapshots.epochs[i], [data_uri(_picture(f, ends)) for f in drawn[i]]) for i in places
        ],
        "range": f"{ends:.3g}",
        "clipped": 100 * float((np.abs(drawn) > ends).mean()),
        "shape": f"{count} × {channels} × {height} × {width}",
        "cut": count - shown,
        "left_out": len(held) - len(places),
        "channels": channels,
        "broken": not np.isfinite(held).all(),
        "width": width,
        "wide": scale_for(width, room),
        "narrow": scale_for(width, max(24, room // 2)),
    }


def _scale(drawn: Floats) -> float:
    """The largest weight, or where few tower above all others, what all but 0.5 % stay below."""
    size = np.abs(drawn)
    most = float(np.quantile(size, 0.995))
    return most if 0 < 2 * most < size.max() else float(size.max())


def _evenly(count: int, most: int) -> list[int]:
    """At most ``most`` of ``count`` places, evenly, the first and the last among them."""
    return sorted(set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()))


def _picture(one: Floats, end: float) -> NDArray[np.uint8]:
    """One filter, float [C, h, w], as RGB: zero is grey in colour, else the middle of RdBu."""
    share = np.clip(one / end, -1, 1) if end > 0 else one
    if len(share) == 3:
        return np.asarray((127.5 + 127.5 * share.transpose(1, 2, 0)).round(), dtype=np.uint8)
    from matplotlib import colormaps

    colours = np.asarray(colormaps["RdBu_r"](0.5 + 0.5 * share[0]))[..., :3]
    return np.asarray((255 * colours).round(), dtype=np.uint8)


def _filters_title(epochs: tuple[int, ...], held: Floats) -> str:
    first, last = held[0], held[-1]
    before = float(np.linalg.norm(first))
    if len(epochs) < 2 or before == 0:
        return f"The first layer's filters after epoch {epochs[-1]}"
    moved = float(np.linalg.norm(last - first)) / before
    how = "hardly changed" if moved < 0.1 else "changed" if moved < 1 else "were made anew"
    start = "the start" if epochs[0] == 0 else f"epoch {epochs[0]}"
    return (
        f"The first layer's filters {how}: from {start} to epoch {epochs[-1]} they moved by "
        f"{moved:.2g} times their own norm"
    )


def norms(training: Training) -> dict[str, Any] | None:
    """What the template needs of the layers' norms: a row a layer, the input's first."""
    layers = training.layers
    if layers is None:
        return None
    places = _evenly(len(layers.names), LAYERS)
    lines: list[dict[str, Any]] = [{"name": layers.names[i]} for i in places]
    scales = {}
    for key, held in (("gradient", layers.gradient), ("weight", layers.weight)):
        if held is None:
            continue
        ends = _range(held)
        epochs = _told_epochs(len(held), training.kept)
        scales[key] = {
            "epochs": epochs,
            "all": len(held),
            "low": f"{ends[0]:.2g}",
            "high": f"{ends[1]:.2g}",
            "bar": data_uri(_strip(np.geomspace(*ends, 64), ends)),
        }
        for line, place in zip(lines, places, strict=True):
            column = held[:, place]
            line[key] = {
                "strip": data_uri(_strip(_shortened(column), ends)),
                "values": [_norm(column[e - 1]) for e in epochs],
            }
    title, told = _flow(layers, training.kept)
    left_out = len(layers.names) - len(places)
    return {"title": title, "told": told, "rows": lines, "scales": scales, "left_out": left_out}


def _told_epochs(count: int, kept: int | None) -> list[int]:
    """First, kept and last epoch, from 1, each once."""
    return sorted({1, kept if kept and kept <= count else count, count})


def _range(held: Floats) -> tuple[float, float]:
    """The smallest and the largest norm that a logarithm has."""
    positive = held[np.isfinite(held) & (held > 0)]
    if not positive.size:
        return 0.1, 1.0
    low, high = float(positive.min()), float(positive.max())
    return (low, high) if high > low * 1.01 else (low / 1.1, high * 1.1)


def _shortened(column: Floats) -> Floats:
    """At most STRIP values, each the median of its stretch of epochs."""
    if len(column) <= STRIP:
        return column
    parts = np.array_split(column, STRIP)
    return np.array([np.nan if np.isnan(p).all() else np.nanmedian(p) for p in parts])


def _strip(values: Floats, ends: tuple[float, float]) -> NDArray[np.uint8]:
    """Norms as one line of cividis, uint8 [1, n, 4]; transparent where there is none."""
    from matplotlib import colormaps

    low, high = np.log10(ends[0]), np.log10(ends[1])
    share = (np.log10(np.clip(values, *ends)) - low) / (high - low)
    colours = np.asarray(colormaps["cividis"](np.nan_to_num(share)))
    colours[np.isnan(values), 3] = 0.0
    return np.asarray((255 * colours).round(), dtype=np.uint8)[None]


def _norm(value: float) -> str:
    return "frozen" if np.isnan(value) else f"{value:.2g}"


def _flow(layers: Layers, kept: int | None) -> tuple[str, list[str]]:
    """Whether the gradient reaches the input's side, and whether it ever burst."""
    held = layers.gradient
    if held is None or np.isnan(held).all():
        return "The weights of the layers", []
    learning = np.flatnonzero(~np.isnan(held).all(axis=0))
    told = []
    frozen = len(layers.names) - len(learning)
    if frozen:
        told.append(
            f"Without a gradient {'is' if frozen == 1 else 'are'} {plural(frozen, 'layers')}: "
            "frozen, or never reached."
        )
    if np.isinf(held).any():
        told.append("Some gradients were not finite.")
    told += _spikes(held)
    if len(learning) < 2:
        return "The gradient of the one layer that learns", told
    at, end = _ends(layers.names, learning)
    first, last = held[:, at], held[:, end]
    valid = np.isfinite(first) & np.isfinite(last) & (last > 0)
    if not valid.any():
        return "Gradients, layer by layer", told
    ratio = float(np.median(first[valid] / last[valid]))
    told.insert(
        0,
        f"Over the epochs, the gradient of {code(layers.names[at])} (the first layer "
        f"that learns) is in the median {ratio:.2g} times that of "
        f"{code(layers.names[end])} (the last).",
    )
    if ratio < SMALL:
        return "Gradients vanish on their way to the input", told
    if ratio > LARGE:
        return "Gradients explode on their way to the input", told
    return f"Gradients reach the first layer: {ratio:.2g} times the last layer's", told


def _ends(names: tuple[str, ...], learning: NDArray[np.int64]) -> tuple[int, int]:
    """First and last of the layers that learn; auxiliary heads branch off before the last."""
    main = [i for i in learning.tolist() if not names[i].lower().startswith("aux")]
    places = main if len(main) > 1 else learning.tolist()
    return places[0], places[-1]


def _spikes(held: Floats) -> list[str]:
    """The epoch whose largest gradient towers above that of the median epoch."""
    largest = np.nanmax(np.where(np.isfinite(held), held, 0.0), axis=1)
    middle = float(np.median(largest))
    if middle <= 0 or largest.max() <= SPIKE * middle:
        return []
    epoch = int(largest.argmax()) + 1
    return [
        f"In epoch {epoch} the largest gradient was {largest.max() / middle:.0f} times that of the "
        "median epoch: a burst; gradient clipping may help."
    ]
