"""VGG (Simonyan and Zisserman 2014): 3x3 convolutions in five stages, and nothing else."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from robustlab.backbones.lectures.parts import Layers, Parts

__all__ = ["vgg"]

_MAPS = (64, 128, 256, 512, 512)
_CONVOLUTIONS = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


def vgg(
    depth: int,
    /,
    *,
    width: int = 64,
    size: int = 224,
    channels: int = 3,
    classes: int = 1000,
    pool: str = "max",
    padding: str = "zero",
    head: str = "flatten",
    activation: str = "relu",
    norm: str = "off",
    dropout: float = 0.5,
    init: str = "he",
    seed: int = 0,
) -> nn.Module:
    """VGG (Simonyan and Zisserman 2014): stages of 3x3 convolutions; torchvision's weights fit.

    The classifier sees the last maps as they are: 7x7 at 224 pixels, 1x1 at 32.

    pool: max, avg, strided, blur or polyphase, 2x2 with stride 2, at the end of the stages
    norm: off as published, or batch (after every convolution; torchvision's vgg16_bn)
    """
    parts = Parts(
        network=f"vgg{depth}",
        published=64,
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
    with torch.device("meta"):
        features = {"features": _stages(parts, _CONVOLUTIONS[depth])}
        return parts.finished(features, lambda values: _classifier(parts, values))


def _stages(parts: Parts, convolutions: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    wide = parts.channels
    for count, maps in zip(convolutions, _MAPS, strict=True):
        out = parts.many(maps)
        for _ in range(count):
            norms = parts.batch_norm("", out).values()
            layers += [parts.conv(wide, out, 3, padding=1), *norms, parts.act()]
            wide = out
        layers.append(parts.pooled(2, 2))
    return nn.Sequential(*layers)


def _classifier(parts: Parts, values: int) -> Layers:
    hidden = parts.many(4096)
    layers: Layers = {
        "0": nn.Linear(values, hidden),
        "1": parts.act(),
        "2": nn.Dropout(parts.dropout),
        "3": nn.Linear(hidden, hidden),
        "4": parts.act(),
        "5": nn.Dropout(parts.dropout),
        "6": nn.Linear(hidden, parts.classes),
    }
    return {"classifier": nn.Sequential(OrderedDict(layers))}
