"""Attribution of one clean image and its twin, for whoever has two pictures and no probe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustlab.adversarial.images import working_dtype
from robustlab.backbones import Backbone
from robustlab.filters.explained import Explainer, Settings
from robustlab.filters.likeness import rank_correlation
from robustlab.filters.projection import randomised
from robustlab.filters.trace_pair import as_pair

__all__ = ["METHODS_SHOWN", "PairExplained", "explain_pair"]

Maps = dict[str, NDArray[np.float64]]

METHODS_SHOWN = ("gradient", "smoothgrad", "integrated", "gradcam", "occlusion")


@dataclass(frozen=True)
class PairExplained:
    """What in a clean image and in its twin speaks for the class that the network says on each.

    Attributes:
        predictions: the classes of the clean and of the changed image.
        clean, changed: method -> float64 [C, H, W], or [1, H, W] of Grad-CAM and occlusion: for
            the class said on that image. Positive speaks for it.
        control: the clean image and its class in a network of random weights; empty if not asked.
        changed_likeness, control_likeness: method -> Spearman's rank correlation of the magnitudes
            with those of the clean image, in [-1, 1]; NaN where a map is the same everywhere.
        left_out: method -> why it is not defined for this network.
    """

    predictions: tuple[int, int]
    clean: Maps
    changed: Maps
    control: Maps
    changed_likeness: Mapping[str, float]
    control_likeness: Mapping[str, float]
    left_out: Mapping[str, str]


def explain_pair(
    backbone: Backbone,
    clean: NDArray[Any],
    changed: NDArray[Any],
    *,
    methods: Sequence[str] = METHODS_SHOWN,
    control: bool = True,
    samples: int = 16,
    noise: float = 0.1,
    steps: int = 32,
    window: int = 0,
    stride: int = 0,
    seed: int = 0,
    image: str = "image",
) -> PairExplained:
    """Attribution maps of one pair, each image explained for what the network says on it.

    Args:
        clean, changed: uint8 [C, H, W], pixels as a PNG holds them, of the backbone's size.
        methods: of `explained.METHODS`; one that is not defined for the network is left out, and
            the reason told.
        control: whether the clean image is explained under random weights too.
        samples, noise, steps, window, stride: as of the probe `attribution`.
        seed, image: decide SmoothGrad's noise and the random weights; give an image's own id.

    Raises:
        BadRequest: pictures that are no such pair, an unknown method, a number out of range.
    """
    pair = as_pair(backbone, clean, changed)
    settings = Settings.of(backbone.input_shape, samples, noise, steps, window, stride, seed)
    own = Explainer(backbone, backbone.network, settings)
    x, z = (_tensor(backbone, one) for one in pair)
    reasons = {m: own.why_not(m, x) for m in methods}
    held = [m for m in methods if not reasons[m]]
    before, after = (int(backbone(one).argmax()) for one in (x, z))
    found = {m: own(m, x, before, image) for m in held}
    other = {m: own(m, z, after, image) for m in held}
    random: Maps = {}
    if control:
        drawn = Explainer(backbone, randomised(backbone.network, seed), settings)
        random = {m: drawn(m, x, before, image) for m in held}
    return PairExplained(
        (before, after),
        found,
        other,
        random,
        {m: rank_correlation(found[m], other[m]) for m in held},
        {m: rank_correlation(found[m], random[m]) for m in held if random},
        {m: why for m, why in reasons.items() if why},
    )


def _tensor(backbone: Backbone, pixels: NDArray[Any]) -> Tensor:
    made = torch.tensor(pixels[None]).to(backbone.device)
    return (made.to(working_dtype(backbone)) / 255.0).to(backbone.dtype)
