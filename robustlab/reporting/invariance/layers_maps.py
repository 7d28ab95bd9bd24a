"""Feature maps before and after a shift, and what differs in its place and moved along."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.reporting.invariance.layers_found import Found, Shift, shift_name
from robustlab.reporting.pixels import as_picture, data_uri, scale_for

__all__ = ["feature_pictures"]

Floats = NDArray[np.floating[Any]]

ROOM = {"wide": 112, "narrow": 72}  # page pixels of a map


def feature_pictures(one: Found) -> dict[str, Any] | None:
    """What the template needs: the image, and a row a layer and channel."""
    arrays = one.arrays
    if "maps_layer" not in arrays or not len(arrays["maps_layer"]):
        return None
    rows = []
    for i, place in enumerate(arrays["maps_layer"].tolist()):
        before, after = arrays[f"maps_before_{i}"], arrays[f"maps_after_{i}"]
        for c, channel in enumerate(arrays[f"maps_channel_{i}"].tolist()):
            row = _row(one, place, np.asarray(before[c], float), np.asarray(after[c], float))
            rows.append({"layer": one.names[place], "channel": channel, "first": c == 0, **row})
    images = [as_picture(arrays[f"maps_image_{w}"]) for w in ("before", "after")]
    return {
        "backbone": one.backbone,
        "id": str(arrays["maps_id"]),
        "shift": shift_name(one.shift),
        "images": [data_uri(x) for x in images],
        **{f"image_{k}": _width(images[0].shape[1], room) for k, room in ROOM.items()},
        "rows": rows,
    }


def _row(one: Found, place: int, before: Floats, after: Floats) -> dict[str, Any]:
    low, high = (float(f(np.stack([before, after]))) for f in (np.min, np.max))
    stride = one.strides[place]
    whole = 0 not in stride and all(s % t == 0 for s, t in zip(one.shift, stride, strict=True))
    pictures = [_cividis((x - low) / (high - low or 1.0)) for x in (before, after)]
    change = after - before
    end = float(np.abs(change).max(initial=0.0))
    changed = np.abs(change) > 1e-5 * np.abs(before).max(initial=0.0)
    pictures.append(_diverging(change, end))
    return {
        "uris": [data_uri(p) for p in pictures],
        "width": {k: _width(before.shape[1], room) for k, room in ROOM.items()},
        "low": f"{low:.3g}",
        "high": f"{high:.3g}",
        "end": f"{end:.3g}",
        "changed": f"{100 * float(changed.mean()):.0f} %",
        "moves": f"by {_cells(one.shift, stride)}" if whole else "by no whole number of cells",
    }


def _cells(shift: Shift, stride: tuple[int, int]) -> str:
    return f"({shift[0] // stride[0]:g}, {shift[1] // stride[1]:g}) cells"


def _width(pixels: int, room: int) -> int:
    return pixels * scale_for(pixels, room)


def _cividis(shares: Floats) -> NDArray[np.uint8]:
    from matplotlib import colormaps

    return _bytes(np.asarray(colormaps["cividis"](shares))[..., :3])


def _diverging(change: Floats, end: float) -> NDArray[np.uint8]:
    from matplotlib import colormaps

    return _bytes(np.asarray(colormaps["RdBu_r"](0.5 + 0.5 * change / (end or 1.0)))[..., :3])


def _bytes(colours: Floats) -> NDArray[np.uint8]:
    return np.asarray((255 * colours).round(), dtype=np.uint8)
