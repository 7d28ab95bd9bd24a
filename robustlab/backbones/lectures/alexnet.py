"""AlexNet: the network of 2012 on two towers, and the single tower of 2014."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from robustlab.backbones.lectures.normalisation import ResponseNorm
from robustlab.backbones.lectures.parts import Layers, Parts
from robustlab.errors import BadRequest

__all__ = ["alexnet", "alexnet2014", "fully_connected"]


def alexnet(
    *,
    towers: int = 2,
    width: int = 96,
    size: int = 227,
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
    """AlexNet (Krizhevsky et al. 2012): response normalisation and overlapping pooling.

    The towers were two GPUs that meet in conv3 and in the classifier only. The paper says 224
    pixels; its layer sizes need 227. The twin on one tower has as many maps, full connections in
    conv2, conv4 and conv5, and response normalisation whose windows run across all maps.

    towers: 2 as published, or 1: the twin without the cut between the maps
    pool: max, avg, strided or blur, 3x3 with stride 2, not at conv1's stride (polyphase: no fit)
    norm: lrn (after conv1 and conv2, each tower by itself), batch (after every convolution) or off
    """
    parts = Parts(
        network="alexnet",
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
    parts.word("towers", towers, (1, 2))
    if width % 2:  # for one tower too, so that the twins have as many maps
        raise BadRequest(f"width {width} of 'alexnet' is odd; the maps must halve into two towers")
    with torch.device("meta"):
        return parts.finished(
            _features(parts, towers), lambda values: fully_connected(parts, values)
        )


def _features(parts: Parts, towers: int) -> Layers:
    first, second, third = (parts.many(maps, 2) for maps in (96, 256, 384))
    convolutions = [
        parts.conv(parts.channels, first, 11, stride=4),
        parts.conv(first, second, 5, padding=2, groups=towers),
        parts.conv(second, third, 3, padding=1),
        parts.conv(third, third, 3, padding=1, groups=towers),
        parts.conv(third, second, 3, padding=1, groups=towers),
    ]
    layers: Layers = {}
    for index, convolution in enumerate(convolutions, start=1):
        layers[f"conv{index}"] = convolution
        layers |= parts.batch_norm(f"bn{index}", convolution.out_channels)
        layers[f"relu{index}"] = parts.act()
        if parts.norm == "lrn" and index <= 2:
            layers[f"norm{index}"] = ResponseNorm(towers)
        if index in (1, 2, 5):
            layers[f"pool{index}"] = parts.pooled(3, 2)
    return layers


def fully_connected(parts: Parts, values: int) -> Layers:
    """The classifier of AlexNet and ZFNet: two hidden layers with dropout."""
    hidden = parts.many(4096)
    return {
        "fc6": nn.Linear(values, hidden),
        "relu6": parts.act(),
        **parts.dropped("dropout6"),
        "fc7": nn.Linear(hidden, hidden),
        "relu7": parts.act(),
        **parts.dropped("dropout7"),
        "fc8": nn.Linear(hidden, parts.classes),
    }


def alexnet2014(
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
    """The single tower of AlexNet (Krizhevsky 2014): what torchvision calls alexnet, same weights.

    pool: max, avg, strided or blur, 3x3 with stride 2, not at conv1's stride (polyphase: no fit)
    norm: batch (after every convolution) or off
    """
    parts = Parts(
        network="alexnet2014",
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
        return parts.finished(
            {"features": _single_tower(parts)}, lambda values: _classifier(parts, values)
        )


def _single_tower(parts: Parts) -> nn.Sequential:
    one, two, three, four = (parts.many(maps) for maps in (64, 192, 384, 256))
    convolutions = [
        parts.conv(parts.channels, one, 11, stride=4, padding=2),
        parts.conv(one, two, 5, padding=2),
        parts.conv(two, three, 3, padding=1),
        parts.conv(three, four, 3, padding=1),
        parts.conv(four, four, 3, padding=1),
    ]
    layers: list[nn.Module] = []
    for index, convolution in enumerate(convolutions):
        norms = parts.batch_norm("", convolution.out_channels).values()
        layers += [convolution, *norms, parts.act()]
        if index in (0, 1, 4):
            layers.append(parts.pooled(3, 2))
    return nn.Sequential(*layers)


def _classifier(parts: Parts, values: int) -> Layers:
    hidden = parts.many(4096)
    layers: Layers = {
        "0": nn.Dropout(parts.dropout),
        "1": nn.Linear(values, hidden),
        "2": parts.act(),
        "3": nn.Dropout(parts.dropout),
        "4": nn.Linear(hidden, hidden),
        "5": parts.act(),
        "6": nn.Linear(hidden, parts.classes),
    }
    return {"classifier": nn.Sequential(OrderedDict(layers))}
