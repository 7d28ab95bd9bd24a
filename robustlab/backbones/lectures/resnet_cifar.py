"""The ResNets for CIFAR-10 (He et al. 2015, section 4.2): 6n + 2 layers, 16, 32 and 64 maps."""

from __future__ import annotations

import torch
from torch import nn

from robustlab.backbones.lectures.parts import Layers, Parts
from robustlab.backbones.lectures.residual import SHORTCUTS, BasicBlock, convolution, normalised

__all__ = ["resnet_cifar"]


def resnet_cifar(
    depth: int,
    /,
    *,
    shortcut: str = "A",
    width: int = 16,
    size: int = 32,
    channels: int = 3,
    classes: int = 10,
    pool: str = "strided",
    padding: str = "zero",
    head: str = "gap",
    activation: str = "relu",
    norm: str = "batch",
    dropout: float = 0.0,
    init: str = "he",
    seed: int = 0,
) -> nn.Module:
    """A residual network for small images (He et al. 2015, section 4.2).

    shortcut: A (every second pixel, channels of zeros), B (1x1 convolution), none (the plain twin)
    pool: strided (convolutions, as published); max, avg, blur, polyphase: 2x2, behind stride 1
    norm: batch (after every convolution), or off, with biases instead
    dropout: share of units dropped before the last layer
    """
    parts = Parts(
        network=f"resnet{depth}",
        published=16,
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
    parts.word("shortcut", shortcut, SHORTCUTS)
    with torch.device("meta"):
        features = _features(parts, (depth - 2) // 6, shortcut)
        return parts.finished(
            features,
            lambda values: {
                **parts.dropped("dropout"),
                "linear": nn.Linear(values, parts.classes),
            },
        )


def _features(parts: Parts, blocks: int, shortcut: str) -> Layers:
    wide = parts.many(16)
    layers: Layers = {
        "conv1": convolution(parts, parts.channels, wide, 3),
        "bn1": normalised(parts, wide),
        "relu1": parts.act(),
    }
    for stage, maps in enumerate((16, 32, 64), start=1):
        row: list[nn.Module] = []
        for block in range(blocks):
            stride = 2 if stage > 1 and block == 0 else 1
            row.append(BasicBlock(parts, wide, parts.many(maps), stride, shortcut))
            wide = parts.many(maps)
        layers[f"layer{stage}"] = nn.Sequential(*row)
    return layers
