"""The channels that change most: clean, changed, and the difference; one picture a layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.reporting.filters.depth_trace_found import Trace
from robustlab.reporting.pixels import as_picture, data_uri, magnified, scale_for

__all__ = ["channel_pictures"]

Floats = NDArray[np.floating[Any]]

ROOM = 84  # page pixels of a map
GAP = 3  # page pixels between two


def channel_pictures(one: Trace) -> dict[str, Any] | None:
    """What the template needs: the pair of images, and a picture of channels a layer."""
    arrays = one.arrays
    if "maps_layer" not in arrays:
        return None
    clean, changed = arrays["maps_image_clean"], arrays["maps_image_changed"]
    apart, times = magnified(clean, changed)
    images = [as_picture(clean), as_picture(changed), apart]
    said = arrays["predictions"][int(arrays["maps_row"])]
    return {
        "backbone": one.backbone,
        "id": str(arrays["maps_id"]),
        "said": [int(x) for x in said],
        "factor": times,
        "images": [data_uri(x) for x in images],
        "wide": images[0].shape[1] * scale_for(images[0].shape[1], 112),
        "layers": [_layer(one, i, int(p)) for i, p in enumerate(arrays["maps_layer"])],
    }


def _layer(one: Trace, i: int, place: int) -> dict[str, Any]:
    before, after = (
        np.asarray(one.arrays[f"maps_{name}_{i}"], float) for name in ("clean", "changed")
    )
    rows: list[list[NDArray[np.uint8]]] = [[], [], []]
    for a, b in zip(before, after, strict=True):
        low, high = min(a.min(), b.min()), max(a.max(), b.max())
        end = float(np.abs(b - a).max()) or 1.0
        for row, x in zip(rows, (a, b), strict=False):
            row.append(_coloured("cividis", (x - low) / ((high - low) or 1.0)))
        rows[2].append(_coloured("RdBu_r", 0.5 + 0.5 * (b - a) / end))
    scale = scale_for(before.shape[2], ROOM)
    grid = _grid([[x.repeat(scale, 0).repeat(scale, 1) for x in row] for row in rows])
    channels = ", ".join(str(int(c)) for c in one.arrays[f"maps_channel_{i}"])
    return {
        "name": one.names[place],
        "channels": channels,
        "uri": data_uri(grid),
        "wide": grid.shape[1],
    }


def _grid(rows: list[list[NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """Cells in rows, mid-grey between them."""
    height, width = rows[0][0].shape[:2]
    across, down = len(rows[0]), len(rows)
    size = (down * (height + GAP) - GAP, across * (width + GAP) - GAP, 3)
    made = np.full(size, 128, np.uint8)
    for r, row in enumerate(rows):
        for c, cell in enumerate(row):
            y, x = r * (height + GAP), c * (width + GAP)
            made[y : y + height, x : x + width] = cell
    return made


def _coloured(name: str, shares: Floats) -> NDArray[np.uint8]:
    from matplotlib import colormaps

    return np.asarray((255 * np.asarray(colormaps[name](shares))[..., :3]).round(), dtype=np.uint8)
