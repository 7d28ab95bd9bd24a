"""LeNet-5 (LeCun, Bottou, Bengio and Haffner 1998) as it is taught, and its locally connected twin.

Layers are named by their site: ``relu1`` stays ``relu1`` whatever the activation, so that twins
line up layer by layer.
"""

from __future__ import annotations

import torch
from torch import nn

from robustlab.backbones.lectures.locally_connected import LocallyConnected2d
from robustlab.backbones.lectures.parts import PADDINGS, Layers, Parts

__all__ = ["lenet5", "local"]


def lenet5(
    *,
    pool: str = "max",
    width: int = 6,
    size: int = 32,
    channels: int = 1,
    classes: int = 10,
    padding: str = "valid",
    head: str = "flatten",
    activation: str = "relu",
    norm: str = "off",
    dropout: float = 0.0,
    init: str = "he",
    seed: int = 0,
) -> nn.Module:
    """LeNet-5 as it is taught: with ReLU, full connections and plain pooling.

    pool: max, avg, strided, blur or polyphase, 2x2 with stride 2; twins of the pooling comparison
    padding: valid (none, as published), or what convolutions that keep the size see past the edge
    norm: batch (after both convolutions) or off
    dropout: share of units dropped after both hidden layers of the classifier
    """
    parts = Parts(
        network="lenet5",
        published=6,
        width=width,
        size=size,
        channels=channels,
        classes=classes,
        paddings=("valid", *PADDINGS),
        padding=padding,
        pool=pool,
        head=head,
        activation=activation,
        norm=norm,
        dropout=dropout,
        init=init,
        seed=seed,
    )
    with torch.device("meta"):
        return parts.finished(_features(parts), lambda values: _classifier(parts, values))


def local(
    *,
    pool: str = "max",
    width: int = 6,
    size: int = 32,
    channels: int = 1,
    classes: int = 10,
    head: str = "flatten",
    activation: str = "relu",
    norm: str = "off",
    dropout: float = 0.0,
    init: str = "he",
    seed: int = 0,
) -> nn.Module:
    """The twin of `lenet5` whose weights are not shared: locally connected layers, same geometry.

    pool: max, avg, strided, blur or polyphase, 2x2 with stride 2
    norm: batch (after both locally connected layers) or off
    dropout: share of units dropped after both hidden layers of the classifier
    """
    parts = Parts(
        network="local",
        published=6,
        width=width,
        size=size,
        channels=channels,
        classes=classes,
        paddings=("valid",),
        padding="valid",
        pool=pool,
        head=head,
        activation=activation,
        norm=norm,
        dropout=dropout,
        init=init,
        seed=seed,
    )
    with torch.device("meta"):
        layers = _features(parts)
        parts.reach(layers)
        second = parts.reach({name: layers[name] for name in ("conv1", "pool1")})[1]
        layers["conv1"] = LocallyConnected2d(channels, parts.many(6), 5, size)
        layers["conv2"] = LocallyConnected2d(parts.many(6), parts.many(16), 5, second)
        return parts.finished(layers, lambda values: _classifier(parts, values))


def _features(parts: Parts) -> Layers:
    layers: Layers = {}
    wide = parts.channels
    for index, out in enumerate((parts.many(6), parts.many(16)), start=1):
        layers[f"conv{index}"] = parts.conv(
            wide, out, 5, padding=0 if parts.padding == "valid" else 2
        )
        layers |= parts.batch_norm(f"bn{index}", out)
        layers |= {f"relu{index}": parts.act(), f"pool{index}": parts.pooled(2, 2)}
        wide = out
    return layers


def _classifier(parts: Parts, values: int) -> Layers:
    first, second = parts.many(120), parts.many(84)
    return {
        "fc1": nn.Linear(values, first),
        "relu3": parts.act(),
        **parts.dropped("dropout3"),
        "fc2": nn.Linear(first, second),
        "relu4": parts.act(),
        **parts.dropped("dropout4"),
        "fc3": nn.Linear(second, parts.classes),
    }
