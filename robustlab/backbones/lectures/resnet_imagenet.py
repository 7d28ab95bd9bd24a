"""The ResNets for ImageNet (He et al. 2015, table 1), with the stride where torchvision has it."""

from __future__ import annotations

import torch
from torch import nn

from robustlab.backbones.lectures.parts import Layers, Parts
from robustlab.backbones.lectures.pooling import pooling
from robustlab.backbones.lectures.residual import (
    SHORTCUTS,
    BasicBlock,
    Bottleneck,
    convolution,
    down,
    normalised,
)

__all__ = ["resnet_imagenet"]

_BLOCKS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}


def resnet_imagenet(
    depth: int,
    /,
    *,
    shortcut: str = "B",
    width: int = 64,
    size: int = 224,
    channels: int = 3,
    classes: int = 1000,
    pool: str = "strided",
    padding: str = "zero",
    head: str = "gap",
    activation: str = "relu",
    norm: str = "batch",
    dropout: float = 0.0,
    init: str = "he",
    seed: int = 0,
) -> nn.Module:
    """A residual network for photographs (He et al. 2015); torchvision's weights fit.

    shortcut: B (1x1 convolution), A (every second pixel, channels of zeros), none (the plain twin)
    pool: strided (as published); others: 2x2 behind stride 1; all but max: in the stem as well
    norm: batch (after every convolution), or off, with biases instead
    dropout: share of units dropped before the last layer

    Unless ``pool`` is strided the convolutions have stride 1. The stem's 3x3 pooling is a max
    pooling, as published, with max and strided.
    """
    parts = Parts(
        network=f"resnet{depth}",
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
    parts.word("shortcut", shortcut, SHORTCUTS)
    with torch.device("meta"):
        features = _features(parts, depth, shortcut)
        return parts.finished(
            features,
            lambda values: {**parts.dropped("dropout"), "fc": nn.Linear(values, parts.classes)},
        )


def _features(parts: Parts, depth: int, shortcut: str) -> Layers:
    block, counts = _BLOCKS[depth]
    wide = parts.many(64)
    step, pool = down(parts, 2)
    layers: Layers = {
        "conv1": convolution(parts, parts.channels, wide, 7, step),
        "pool1": pool,
        "bn1": normalised(parts, wide),
        "relu1": parts.act(),
        "maxpool": pooling("max" if parts.pool == "strided" else parts.pool, 3, 2, 1),
    }
    for stage, (maps, count) in enumerate(zip((64, 128, 256, 512), counts, strict=True), start=1):
        row: list[nn.Module] = []
        for index in range(count):
            stride = 2 if stage > 1 and index == 0 else 1
            row.append(block(parts, wide, parts.many(maps), stride, shortcut))
            wide = parts.many(maps) * block.expansion
        layers[f"layer{stage}"] = nn.Sequential(*row)
    return layers
