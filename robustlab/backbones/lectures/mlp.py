"""The multilayer perceptron: the lectures' network without convolutions."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

import torch
from torch import nn

from robustlab.backbones.lectures.initial import initialised
from robustlab.backbones.lectures.parts import Layers, Parts
from robustlab.errors import BadRequest

__all__ = ["mlp"]


def mlp(
    *,
    hidden: str = "128,64",
    size: int = 32,
    channels: int = 1,
    classes: int = 10,
    activation: str = "relu",
    norm: str = "off",
    dropout: float = 0.0,
    init: str = "he",
    seed: int = 0,
) -> nn.Module:
    """A multilayer perceptron (Rumelhart et al. 1986) with ReLU.

    norm: batch (after every hidden layer) or off
    dropout: share of hidden units dropped in training
    """
    parts = Parts(
        network="mlp",
        size=size,
        channels=channels,
        classes=classes,
        activation=activation,
        norm=norm,
        dropout=dropout,
        init=init,
        seed=seed,
    )
    widths = [one.strip() for one in str(hidden).split(",")]
    if not all(one.isdecimal() and 1 <= int(one) <= 16384 for one in widths):
        raise BadRequest(f"hidden {hidden!r} of 'mlp' is no list of widths, as '128,64'")
    sizes = [channels * size * size, *map(int, widths)]
    with torch.device("meta"):
        layers: Layers = {"flatten": nn.Flatten()}
        for index, (wide, out) in enumerate(pairwise(sizes), start=1):
            layers[f"fc{index}"] = nn.Linear(wide, out)
            if norm == "batch":
                layers[f"bn{index}"] = nn.BatchNorm1d(out)
            layers |= {f"relu{index}": parts.act()} | parts.dropped(f"dropout{index}")
        layers[f"fc{len(sizes)}"] = nn.Linear(sizes[-1], classes)
    network = nn.Sequential(OrderedDict(layers))
    return initialised(network, seed, init=init, activation=activation)
