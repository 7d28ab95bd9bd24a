"""Feature maps of one image before and after a shift, for the page to draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from robustlab.adversarial.images import load_pixels
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.hooks import Layer, feature_maps
from robustlab.invariance.layer_errors import Shift
from robustlab.invariance.layer_measures import Ruler
from robustlab.invariance.shifts import shifted

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["pictured"]

LAYERS, CHANNELS, LARGEST = 4, 3, 128  # of a page; the longest side of a map that is kept


def pictured(
    backbone: Backbone, data: Data, row: int, ruler: Ruler, shift: Shift
) -> dict[str, NDArray[Any]]:
    """Arrays for the page, all of image ``row`` and one shift.

    Returns:
        ``maps_id``: the image's id; ``maps_image_before``, ``maps_image_after`` uint8 [C, H, W];
        ``maps_layer`` int [k], which layers; for the i-th of them ``maps_before_i`` and
        ``maps_after_i`` float32 [channels, h, w], the channels of most energy about their mean, and
        ``maps_channel_i``, which these are.
    """
    image = load_pixels(data, [row], backbone)[0].to(backbone.dtype)
    moved = shifted(image, *shift, ruler.mode)
    names = list(ruler.layers)
    chosen = _chosen([x for x in ruler.layers.values() if x.kind == "map"])
    maps = [feature_maps(backbone.network, one, chosen)[0] for one in (image, moved)]
    levels = shifted(torch.tensor(data.batch_8bit([row])).double(), *shift, ruler.mode)
    found: dict[str, NDArray[Any]] = {
        "maps_id": np.array(data.ids[row]),
        "maps_image_before": data.batch_8bit([row])[0],
        "maps_image_after": levels[0].round().clamp(0, 255).to(torch.uint8).numpy(),
        "maps_layer": np.array([names.index(x.name) for x in chosen], np.int16),
    }
    for i, layer in enumerate(chosen):
        before, after = (one[layer.name][0].float().cpu() for one in maps)
        channels = _strongest(before)
        found[f"maps_channel_{i}"] = np.array(channels, np.int32)
        found[f"maps_before_{i}"] = before[channels].numpy()
        found[f"maps_after_{i}"] = after[channels].numpy()
    return found


def _chosen(maps: list[Layer]) -> list[Layer]:
    """The last map of each size: behind an activation, or behind a pooling; evenly thinned."""
    small = [x for x in maps if max(x.shape[1:]) <= LARGEST]
    stages = {layer.shape[1:]: layer for layer in small}
    held = list(stages.values())
    places = np.linspace(0, len(held) - 1, min(len(held), LAYERS)).round().astype(int)
    return [held[i] for i in sorted(set(places.tolist()))]


def _strongest(maps: Tensor) -> list[int]:
    about = maps.double() - maps.double().mean(dim=(1, 2), keepdim=True)
    energy = about.square().sum(dim=(1, 2))
    return sorted(energy.argsort(descending=True)[:CHANNELS].tolist())
