"""ZFNet (Zeiler and Fergus 2013): AlexNet with smaller first filters, found by looking at them."""

from __future__ import annotations

import torch
from torch import nn

from robustlab.backbones.lectures.alexnet import fully_connected
from robustlab.backbones.lectures.normalisation import ResponseNorm
from robustlab.backbones.lectures.parts import Layers, Parts

__all__ = ["zfnet"]


def zfnet(
    *,
    width: int = 96,
    size: int = 224,
    channels: int = 3,
    classes: int = 1000,
    pool: str = "max",
    padding: str = "zero",
    head: str = "flatten",
    activation: str = "relu",
    norm: str = "lrn",
    dropout: float = 0.5,
    init: str = "he",
    seed: int = 0,
) -> nn.Module:
    """ZFNet (Zeiler and Fergus 2013): maps of 110, 55, 26 and 13 pixels, one tower.

    Its contrast normalisation across maps is AlexNet's response normalisation here.

    pool: max, avg, strided, blur or polyphase, 3x3 with stride 2, not at convolutions' strides
    norm: lrn (behind the first two poolings), batch (after every convolution) or off
    """
    parts = Parts(
        network="zfnet",
        published=96,
        norms=("lrn", "batch", "off"),
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
        return parts.finished(_features(parts), lambda values: fully_connected(parts, values))


def _features(parts: Parts) -> Layers:
    first, second, third = (parts.many(maps) for maps in (96, 256, 384))
    convolutions = [
        parts.conv(parts.channels, first, 7, stride=2, padding=1),
        parts.conv(first, second, 5, stride=2),
        parts.conv(second, third, 3, padding=1),
        parts.conv(third, third, 3, padding=1),
        parts.conv(third, second, 3, padding=1),
    ]
    layers: Layers = {}
    for index, convolution in enumerate(convolutions, start=1):
        layers[f"conv{index}"] = convolution
        layers |= parts.batch_norm(f"bn{index}", convolution.out_channels)
        layers[f"relu{index}"] = parts.act()
        if index in (1, 2, 5):  # 110 to 55 and 26 to 13: the last window hangs over
            layers[f"pool{index}"] = parts.pooled(3, 2, ceil=True)
        if parts.norm == "lrn" and index <= 2:
            layers[f"norm{index}"] = ResponseNorm()
    return layers
