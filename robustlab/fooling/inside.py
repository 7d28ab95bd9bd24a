"""Inside the network: the pair followed from layer to layer, and what speaks for each class.

Both look at what the network is shown of the two pictures, 8-bit images of its own size; the
numbers are those of `filters.trace_pair` and `filters.explain_pair`, as arrays by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.backbones import Backbone
from robustlab.errors import BadRequest
from robustlab.filters.explained_pair import explain_pair
from robustlab.filters.trace_pair import trace_pair
from robustlab.fooled import Pixels
from robustlab.fooling.readings import Read

__all__ = ["METHODS", "attribution", "depth_trace", "levels_shown"]

# Seconds each on a photograph; SmoothGrad and occlusion take three times as long as these together.
METHODS = ("gradient", "integrated", "gradcam")

Arrays = dict[str, NDArray[Any]]


def levels_shown(read: Read, pixels: Pixels) -> Pixels:
    """The 8-bit image that ``read`` gives the network of a picture, uint8 [C, h, w].

    Raises:
        BadRequest: what it gives does not lie on the 256 levels.
    """
    levels = np.asarray(read(pixels), dtype=np.float64) * 255
    nearest = np.rint(levels)
    if not np.abs(levels - nearest).max(initial=0.0) < 1e-3 or nearest.min() < 0:
        raise BadRequest("the network is shown more than 8-bit pixels; these are traced alone")
    return nearest.astype(np.uint8)


def depth_trace(
    backbone: Backbone,
    read: Read,
    original: Pixels,
    changed: Pixels,
    *,
    layers: int | Sequence[str] = 8,
    draws: int = 1,
    seed: int = 0,
    image: str = "picture",
    batch: int = 32,
) -> Arrays:
    """How far apart the two pictures are at each of l layers: `Fooled.trace`.

    Args:
        original, changed: uint8 [C, H, W]; see `filters.trace_pair` for the rest.

    Returns:
        The fields of `filters.trace_pair.PairTrace` as arrays, but for its pictures: layers,
        modules, kinds, amplification, flips, control_amplification [controls, l], restoring, ...
    """
    pair = levels_shown(read, original), levels_shown(read, changed)
    options: dict[str, Any] = {"draws": draws, "seed": seed, "image": image, "batch": batch}
    found = trace_pair(backbone, *pair, layers=layers, **options)
    held = {field.name: getattr(found, field.name) for field in fields(found)}
    del held["maps"]
    return {name: np.asarray(value) for name, value in held.items()}


def attribution(
    backbone: Backbone,
    read: Read,
    original: Pixels,
    changed: Pixels,
    *,
    methods: Sequence[str] = METHODS,
    control: bool = True,
    seed: int = 0,
    image: str = "picture",
    **settings: Any,
) -> Arrays:
    """What in each picture speaks for the class that the network says on it: `Fooled.maps`.

    Args:
        original, changed: uint8 [C, H, W].
        control: whether the clean picture is explained under random weights too.
        settings: ``samples``, ``noise``, ``steps``, ``window``, ``stride`` of
            `filters.explain_pair`.

    Returns:
        ``clean_METHOD``, ``changed_METHOD`` and ``control_METHOD``, float32 [C, h, w] or [1, h, w];
        ``methods``, text [m], those that are defined for the network; ``changed_likeness`` and
        ``control_likeness``, float64 [m], rank correlations with the clean map; ``left_out``, text
        [k, 2], methods that are not, and why.
    """
    pair = levels_shown(read, original), levels_shown(read, changed)
    options: dict[str, Any] = {"control": control, "seed": seed, "image": image, **settings}
    found = explain_pair(backbone, *pair, methods=methods, **options)
    held: Arrays = {"methods": np.array(list(found.clean), dtype=np.str_)}
    for side in ("clean", "changed", "control"):
        for method, values in getattr(found, side).items():
            held[f"{side}_{method}"] = np.asarray(values, dtype=np.float32)
    for side, likeness in (
        ("changed", found.changed_likeness),
        ("control", found.control_likeness),
    ):
        if likeness:
            held[f"{side}_likeness"] = np.array([likeness[m] for m in found.clean])
    if found.left_out:
        held["left_out"] = np.array(list(found.left_out.items()), dtype=np.str_)
    return held
