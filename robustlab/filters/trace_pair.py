"""One changed image followed from layer to layer, for whoever has a pair of pictures and no probe.

The numbers are those of the probe `depth_trace` on that one image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from robustlab.adversarial.images import exact_kernels
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.errors import BadRequest, choices
from robustlab.filters.trace_controls import CONTROLS
from robustlab.filters.trace_layers import traced_layers
from robustlab.filters.trace_pictures import pictured
from robustlab.filters.trace_survey import Survey
from robustlab.filters.trace_twins import Twins
from robustlab.hooks import Layer, find_layers

__all__ = ["PairTrace", "as_pair", "trace_pair"]

Array = NDArray[Any]


@dataclass(frozen=True)
class PairTrace:
    """What happens to one pair of images between the input and the logits, of l layers.

    Attributes:
        layers, modules, kinds: text [l], in the order of execution; kinds are map or vector.
        channels: int [l]; changed_channels: int [l], how many of them differ at all.
        predictions: the classes of the clean and of the changed image; lost: whether they differ.
        input_distance: ||changed - clean|| / ||clean|| of the pixels.
        relative_distance, cosine, flips: float [l], of the features; flips is the share of units
            above zero on one side only.
        amplification: float [l], relative distance over that at the input.
        controls: names of the controls: noise of the same L2, signs of the same Linf, the
            perturbation with its pixels permuted.
        control_amplification, control_flips: float [controls, l].
        restoring: int [l], the smallest number of channels, those of largest change first, that
            bring the clean label back when they are set back; -1: no number does; 0: not asked,
            as no label was lost or no channel has changed.
        restoring_random: int [draws, l], the same of channels in random order.
        method: int [l], how ``restoring`` was found, a key of `trace_search.METHODS`.
        cut: bool [l], setting back the whole layer gives the clean logits bit for bit; where it
            does not, a branch goes round the layer.
        maps: of a few layers the channels that change most, as `trace_pictures.pictured` gives.
    """

    layers: tuple[str, ...]
    modules: tuple[str, ...]
    kinds: tuple[str, ...]
    channels: Array
    changed_channels: Array
    predictions: tuple[int, int]
    lost: bool
    input_distance: float
    relative_distance: Array
    cosine: Array
    flips: Array
    amplification: Array
    controls: tuple[str, ...]
    control_amplification: Array
    control_flips: Array
    restoring: Array
    restoring_random: Array
    method: Array
    cut: Array
    maps: dict[str, Array]


def trace_pair(
    backbone: Backbone,
    clean: Array,
    changed: Array,
    *,
    layers: int | Sequence[str] = 12,
    draws: int = 5,
    seed: int = 0,
    image: str = "image",
    batch: int = 32,
) -> PairTrace:
    """Follow one changed image through a network: how far, how many units, and what restores it.

    On 224 pixels a SqueezeNet takes about 40 s on one core; fewer layers and draws take less.

    Args:
        clean, changed: uint8 [C, H, W], pixels as a PNG holds them, of the backbone's size.
        layers: names of layers, or at most so many, evenly spread among those that no branch goes
            round, where these are enough; 0: all.
        draws: random orders of channels that the order by change is held against.
        seed, image: decide the controls and the random orders; give an image's own id.
        batch: images in one pass: bounds the memory.

    Raises:
        BadRequest: pictures that are no such pair, no such layer, numbers out of range.
    """
    pair = as_pair(backbone, clean, changed)
    if draws < 0 or batch < 1:
        raise BadRequest(f"draws={draws} must be at least 0 and batch={batch} at least 1")
    with exact_kernels():
        chosen = _layers(backbone, pair, layers)
        x = torch.tensor(pair[:1]).to(backbone.device, backbone.dtype) / 255
        says = int(backbone(x).argmax())
        data = Data(pair[:1], [says], classes=list(backbone.classes), ids=[image])
        twins = Twins(np.array([0]), pair[:1], pair[1:], np.array([True]), None, "a given pair")
        survey = Survey(backbone, data, chosen, twins, draws, seed, batch)
        survey.run()
        both = survey.tensor(pair)
        maps = pictured(backbone.network, both[:1], both[1:], list(chosen))
    return _told(survey, maps)


def as_pair(backbone: Backbone, clean: Array, changed: Array) -> Array:
    """Both pictures as uint8 [2, C, H, W], refused where they are not what the backbone takes."""
    for name, one in (("clean", clean), ("changed", changed)):
        held = np.asarray(one)
        if held.dtype != np.uint8 or held.shape != tuple(backbone.input_shape):
            raise BadRequest(
                f"the {name} picture is {held.dtype} {list(held.shape)}, and {backbone.name} takes "
                f"8-bit pixels, uint8 {list(backbone.input_shape)}; round floats to "
                "(255 * x).round() and scale a picture of another size first"
            )
    return np.stack([np.asarray(clean), np.asarray(changed)])


def _layers(backbone: Backbone, pair: Array, asked: int | Sequence[str]) -> list[Layer]:
    two = torch.tensor(pair).to(backbone.device, backbone.dtype) / 255
    if isinstance(asked, int):
        if asked < 0:
            raise BadRequest(f"layers={asked} is below 0; 0 takes all")
        found, _, _ = traced_layers(backbone.network, two, asked)
    else:
        every, _ = find_layers(backbone.network, two)
        known = {layer.name: layer for layer in every}
        for name in asked:
            if name not in known:
                raise BadRequest(f"{backbone.name} has no layer {name!r}{choices(name, known)}")
        found = [layer for layer in every if layer.name in set(asked)]
    if not found:
        raise BadRequest(f"{backbone.name} has no layer that hooks can see")
    return found


def _told(survey: Survey, maps: dict[str, Array]) -> PairTrace:
    found = survey.arrays()
    # Pictures that are equal have no amplification: 0 / 0 is NaN.
    with np.errstate(invalid="ignore", divide="ignore"):
        far = found["relative_distance"][0] / found["input_distance"][0]
        others = found["control_relative_distance"][0] / found["control_input_distance"][0][:, None]
    before, after = (int(one) for one in found["predictions"][0])
    return PairTrace(
        layers=tuple(found["layers"].tolist()),
        modules=tuple(found["modules"].tolist()),
        kinds=tuple(found["kinds"].tolist()),
        channels=found["channels"],
        changed_channels=found["changed_channels"][0],
        predictions=(before, after),
        lost=before != after,
        input_distance=float(found["input_distance"][0]),
        relative_distance=found["relative_distance"][0],
        cosine=found["cosine"][0],
        flips=found["flips"][0],
        amplification=far,
        controls=CONTROLS,
        control_amplification=others,
        control_flips=found["control_flips"][0],
        restoring=found["restoring"][0],
        restoring_random=found["restoring_random"][0],
        method=found["method"][0],
        cut=found["whole_exact"][0],
        maps=maps,
    )
