"""LeNet-5 as LeCun, Bottou, Bengio and Haffner (1998) built it: 60,000 trainable parameters."""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn

from robustlab.backbones.lectures.bitmaps import BITMAPS
from robustlab.backbones.lectures.parts import Layers, Parts
from robustlab.backbones.lectures.pooling import pooling

__all__ = ["TABLE", "PartlyConnected", "RadialBasis", "ScaledTanh", "TrainablePool", "lenet5_1998"]

# The maps of S2 that each of the 16 maps of C3 looks at: table I of the paper.
TABLE = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)


class ScaledTanh(nn.Module):
    """1.7159 tanh(2x / 3), which is 1 at 1 and -1 at -1."""

    def forward(self, x: Tensor) -> Tensor:
        return 1.7159 * torch.tanh(x * (2 / 3))


class TrainablePool(nn.Module):
    """2x2 pooling times one coefficient a map, plus one bias a map; [n, C, H, W] to half of it.

    pool "avg" adds the four values, as published; "max" and "strided" keep one of them.
    """

    def __init__(self, pool: str, maps: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(2, divisor_override=1) if pool == "avg" else pooling(pool, 2, 2)
        self.weight = nn.Parameter(torch.empty(maps, 1, 1))
        self.bias = nn.Parameter(torch.empty(maps, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.pool(x)
        return pooled * self.weight + self.bias


class PartlyConnected(nn.Module):
    """5x5 convolutions that each see some maps only; [n, maps, H, W] to [n, rows, H-4, W-4].

    table: for each output map the input maps it looks at; absent connections have no weights.
    """

    def __init__(self, table: tuple[tuple[int, ...], ...]) -> None:
        super().__init__()
        self.table = table
        self.maps = nn.ModuleList(nn.Conv2d(len(row), 1, 5) for row in table)

    def forward(self, x: Tensor) -> Tensor:
        rows = zip(self.maps, self.table, strict=True)
        return torch.cat([conv(x[:, list(row)]) for conv, row in rows], 1)


class RadialBasis(nn.Module):
    """Logits [n, 10]: minus the squared distance of [n, 84] to each digit's bitmap of +1 and -1."""

    codes: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("codes", torch.empty(len(BITMAPS), len(BITMAPS[0])))

    def forward(self, x: Tensor) -> Tensor:
        return -(x[:, None] - self.codes).square().sum(2)


def lenet5_1998(*, pool: str = "avg", seed: int = 0) -> nn.Module:
    """LeNet-5 as published (LeCun et al. 1998): trainable pooling, C3's table, codes as targets.

    Weights start uniform in +-2.4 / fan_in, biases at zero.

    pool: avg (a sum, as published), max, strided, blur, polyphase; times a factor, plus a bias
    """
    parts = Parts(network="lenet5_1998", size=32, channels=1, classes=10, pool=pool, seed=seed)
    with torch.device("meta"):
        layers: Layers = {
            "c1": nn.Conv2d(1, 6, 5),
            "tanh1": ScaledTanh(),
            "s2": TrainablePool(parts.pool, 6),
            "tanh2": ScaledTanh(),
            "c3": PartlyConnected(TABLE),
            "tanh3": ScaledTanh(),
            "s4": TrainablePool(parts.pool, 16),
            "tanh4": ScaledTanh(),
            "c5": nn.Conv2d(16, 120, 5),
            "tanh5": ScaledTanh(),
            "flatten": nn.Flatten(),
            "f6": nn.Linear(120, 84),
            "tanh6": ScaledTanh(),
            "rbf": RadialBasis(),
        }
    return _drawn(nn.Sequential(OrderedDict(layers)), seed)


def _drawn(network: nn.Module, seed: int) -> nn.Module:
    network = network.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    for one in network.modules():
        if isinstance(one, nn.Conv2d | nn.Linear | TrainablePool):
            fan_in = 4 if isinstance(one, TrainablePool) else math.prod(one.weight.shape[1:])
            nn.init.uniform_(one.weight, -2.4 / fan_in, 2.4 / fan_in, generator=generator)
            if one.bias is not None:
                nn.init.zeros_(one.bias)
        elif isinstance(one, RadialBasis):
            one.codes.copy_(torch.tensor(BITMAPS, dtype=torch.float32))
    return network
