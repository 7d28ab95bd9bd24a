"""Weights to start from, drawn in the order of the layers from an explicit seed.

Networks are built on the meta device, where torch's own initialisation costs nothing and draws no
random numbers, and filled here. The generator is the builder's own, so the global one is left
alone and twins that differ only in an option without weights (pooling, padding) start equal. What
only some twins have (projection shortcuts, auxiliary heads) is drawn last, for the same reason.
Where an option changes a shape (head, width), the layers in front of it still start equal.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator

import torch
from torch import nn

from robustlab.backbones.lectures.locally_connected import LocallyConnected2d

__all__ = ["INITS", "initialised", "spread"]

Weighted = nn.Conv2d | nn.Linear | LocallyConnected2d

INITS = ("he", "xavier", "lecun", "normal")
_GAINED = ("tanh", "sigmoid", "leaky_relu")  # the others are rectifiers in the large
_LATER = ("downsample.", "aux1.", "aux2.")
_LOGITS = ("aux1.fc2", "aux2.fc2")


def initialised(
    network: nn.Module, seed: int, *, init: str = "he", activation: str = "relu"
) -> nn.Module:
    """The network of the meta device on the CPU, its weights drawn in order from ``seed``.

    Hidden layers are drawn as ``init`` says, layers that give logits with variance 1/fan_in
    (LeCun et al. 1998); biases are zero, batch normalisation starts as the identity.
    """
    network = network.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    weighted = dict(_in_order(network))
    last = [name for name in weighted if not _later(name)][-1]
    for name, layer in weighted.items():
        logits = name == last or name in _LOGITS
        std = spread(layer, "lecun" if logits else init, activation)
        nn.init.normal_(layer.weight, 0, std, generator=generator)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    _fill_the_rest(network, set(weighted))
    return network


def spread(layer: Weighted, init: str, activation: str) -> float:
    """Standard deviation of the weights that ``init`` draws for ``layer``.

    "he": gain / sqrt(fan_in) (He et al. 2015); "xavier": Glorot and Bengio 2010; "lecun":
    1 / sqrt(fan_in); "normal": 0.01 (Krizhevsky et al. 2012), which vanishes in deep networks.
    """
    weight = layer.weight[0, 0] if isinstance(layer, LocallyConnected2d) else layer.weight
    fan_in, fan_out = weight[0].numel(), weight[:, 0].numel()
    if init == "normal":
        return 0.01
    if init == "xavier":
        return math.sqrt(2 / (fan_in + fan_out))
    gain = nn.init.calculate_gain(activation if activation in _GAINED else "relu")  # type: ignore[arg-type]
    return (gain if init == "he" else 1.0) / math.sqrt(fan_in)


def _later(name: str) -> bool:
    return any(part in name for part in _LATER)


def _in_order(network: nn.Module) -> Iterator[tuple[str, Weighted]]:
    named = sorted(network.named_modules(), key=lambda pair: _later(pair[0]))
    yield from ((name, one) for name, one in named if isinstance(one, Weighted))


def _fill_the_rest(network: nn.Module, done: Collection[str]) -> None:
    """What holds numbers and was not drawn; `TypeError` for one nobody knows how to fill."""
    for name, one in network.named_modules():
        if isinstance(one, nn.BatchNorm1d | nn.BatchNorm2d):
            one.reset_running_stats()
            one.reset_parameters()
        elif name not in done and [*one.parameters(False), *one.buffers(False)]:
            raise TypeError(f"{name}: a {type(one).__name__} has no initialisation")
