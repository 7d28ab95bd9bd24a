"""Weights to start from, drawn in the order of the layers from an explicit seed.

Initialisation keeps the variance of activations: He et al. (2015) before a ReLU, LeCun's 1/fan_in
before the logits; biases are zero. The generator is the builder's own, so the global one is left
alone and twins that differ only in an option without weights (pooling) start equal.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import nn

__all__ = ["initialised"]


def initialised(layers: Mapping[str, nn.Module], seed: int) -> nn.Module:
    """The layers in a row, their weights drawn in order from ``seed``."""
    network = nn.Sequential(OrderedDict(layers)).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    weighted = [one for one in network if isinstance(one, nn.Conv2d | nn.Linear)]
    for layer in weighted:
        last = layer is weighted[-1]
        nn.init.kaiming_normal_(
            layer.weight, nonlinearity="linear" if last else "relu", generator=generator
        )
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return network
