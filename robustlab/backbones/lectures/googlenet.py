"""GoogLeNet (Szegedy et al. 2014): nine inception modules, no hidden fully connected layer."""

from __future__ import annotations

import torch
from torch import nn

from robustlab.backbones.lectures.inception import (
    Auxiliary,
    Branches,
    Inception,
    NaiveInception,
    Unit,
    WithAuxiliary,
)
from robustlab.backbones.lectures.normalisation import ResponseNorm
from robustlab.backbones.lectures.parts import Layers, Parts

__all__ = ["googlenet"]

# 1x1; narrowed and 3x3; narrowed and 5x5; projected pooling: table 1 of the paper.
_MODULES: dict[str, Branches] = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
_KINDS: dict[str, type[Inception] | type[NaiveInception]] = {
    "bottleneck": Inception,
    "naive": NaiveInception,
}


def googlenet(
    *,
    branch5: int = 5,
    module: str = "bottleneck",
    auxiliary: bool = False,
    width: int = 64,
    size: int = 224,
    channels: int = 3,
    classes: int = 1000,
    pool: str = "max",
    padding: str = "zero",
    head: str = "gap",
    activation: str = "relu",
    norm: str = "batch",
    dropout: float = 0.4,
    init: str = "he",
    seed: int = 0,
) -> nn.Module:
    """GoogLeNet (Szegedy et al. 2014) with batch normalisation.

    torchvision's published weights fit ``branch5=3&auxiliary=true``, with ``mean=0.5,0.5,0.5`` and
    ``std=0.5,0.5,0.5``: its network is given ImageNet's statistics and turns them into those.

    branch5: 5 as in the paper, or 3, torchvision's kernel of the 5x5 branch
    module: bottleneck, or naive (nothing narrows: 416 maps after 3a grow to 4,944 after 5b)
    auxiliary: true adds aux1 and aux2; in train mode it returns (logits, aux1's, aux2's)
    pool: max, avg, strided, blur or polyphase, at the four pooling sites between stages only
    norm: batch (after every convolution), lrn (the paper's two response normalisations) or off
    dropout: share of units dropped before the last layer; the auxiliary heads always drop 0.7
    """
    parts = Parts(
        network="googlenet",
        published=64,
        norms=("batch", "lrn", "off"),
        width=width,
        size=size,
        channels=channels,
        classes=classes,
        pool=pool,
        padding=padding,
        head=head,
        activation=activation,
        norm=norm,
        dropout=dropout,
        init=init,
        seed=seed,
    )
    parts.word("branch5", branch5, (3, 5))
    parts.word("module", module, _KINDS)
    parts.word("auxiliary", auxiliary, (False, True))
    with torch.device("meta"):
        features, taps = _features(parts, branch5, module)
        heads: Layers = {}
        if auxiliary:
            heads = {f"aux{one}": Auxiliary(parts, wide) for one, wide in enumerate(taps, start=1)}
        return parts.finished(
            features,
            lambda values: {
                **parts.dropped("dropout"),
                "fc": nn.Linear(values, parts.classes),
                **heads,
            },
            WithAuxiliary if auxiliary else nn.Sequential,
        )


def _features(parts: Parts, kernel: int, module: str) -> tuple[Layers, tuple[int, int]]:
    """The layers to the last maps, and how many maps the auxiliary heads see."""
    first, wide = parts.many(64), parts.many(192)
    response = parts.norm == "lrn"
    layers: Layers = {
        "conv1": Unit(parts, parts.channels, first, 7, stride=2, padding=3),
        "maxpool1": parts.pooled(3, 2, ceil=True),
        **({"norm1": ResponseNorm()} if response else {}),
        "conv2": Unit(parts, first, first, 1),
        "conv3": Unit(parts, first, wide, 3, padding=1),
        **({"norm2": ResponseNorm()} if response else {}),
        "maxpool2": parts.pooled(3, 2, ceil=True),
    }
    out = {}
    for name, maps in _MODULES.items():
        one, narrow3, three, narrow5, five, pooled = map(parts.many, maps)
        scaled = (one, narrow3, three, narrow5, five, pooled)
        built = _KINDS[module](parts, wide, scaled, kernel)
        layers[f"inception{name}"] = built
        wide = out[name] = built.out
        if name == "3b":
            layers["maxpool3"] = parts.pooled(3, 2, ceil=True)
        if name == "4e":
            # torchvision's 2x2; the paper's table says 3x3, the maps are the same size.
            layers["maxpool4"] = parts.pooled(2, 2, ceil=True)
    return layers, (out["4a"], out["4d"])
