"""The channels that change most, on one image as it was and as it is changed, for the page."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from robustlab.filters.trace_patching import changes
from robustlab.hooks import Layer, feature_maps

__all__ = ["pictured"]

LAYERS, CHANNELS, LARGEST = 4, 4, 128  # of a page; the longest side of a map that is kept


def pictured(
    network: nn.Module, clean: Tensor, changed: Tensor, layers: list[Layer]
) -> dict[str, NDArray[Any]]:
    """Maps of one pair of images [1, C, H, W].

    Returns:
        ``maps_layer`` int [k], which layers; for the i-th of them ``maps_channel_i``, the channels
        of largest change first, and ``maps_clean_i``, ``maps_changed_i`` float32 [channels, h, w].
    """
    names = [layer.name for layer in layers]
    chosen = _chosen([x for x in layers if x.kind == "map"])
    before, after = (feature_maps(network, one, chosen)[0] for one in (clean, changed))
    found: dict[str, NDArray[Any]] = {
        "maps_layer": np.array([names.index(x.name) for x in chosen], np.int16)
    }
    for i, layer in enumerate(chosen):
        score = changes(before[layer.name], after[layer.name])[0]
        top = score.argsort(descending=True, stable=True)[:CHANNELS]
        found[f"maps_channel_{i}"] = top.cpu().numpy().astype(np.int32)
        for name, maps in (("clean", before), ("changed", after)):
            found[f"maps_{name}_{i}"] = maps[layer.name][0, top].float().cpu().numpy()
    return found


def _chosen(maps: list[Layer]) -> list[Layer]:
    """The last map of each size, evenly thinned."""
    stages = {x.shape[1:]: x for x in maps if max(x.shape[1:]) <= LARGEST}
    held = list(stages.values())
    places = np.linspace(0, len(held) - 1, min(len(held), LAYERS)).round().astype(int)
    return [held[i] for i in sorted(set(places.tolist()))]
