"""LeNet-5 (LeCun, Bottou, Bengio and Haffner 1998)."""

from __future__ import annotations

import torch
from torch import nn

from robustlab.backbones.lectures.initial import initialised
from robustlab.errors import BadRequest, choices

__all__ = ["lenet5"]


def lenet5(*, pool: str = "max", seed: int = 0) -> nn.Module:
    """LeNet-5 as it is taught (LeCun et al. 1998, with ReLU and full connections): 61,706
    parameters. pool: "max" or "avg", 2x2 with stride 2; the twins of the pooling comparison."""
    pools: dict[str, type[nn.Module]] = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}
    if pool not in pools:
        raise BadRequest(f"unknown pool {pool!r} of 'lenet5'{choices(pool, pools)}")
    # On the meta device torch's own initialisation costs nothing and draws no random numbers.
    with torch.device("meta"):
        layers: dict[str, nn.Module] = {
            "conv1": nn.Conv2d(1, 6, 5),
            "relu1": nn.ReLU(),
            "pool1": pools[pool](2),
            "conv2": nn.Conv2d(6, 16, 5),
            "relu2": nn.ReLU(),
            "pool2": pools[pool](2),
            "flatten": nn.Flatten(),
            "fc1": nn.Linear(16 * 5 * 5, 120),
            "relu3": nn.ReLU(),
            "fc2": nn.Linear(120, 84),
            "relu4": nn.ReLU(),
            "fc3": nn.Linear(84, 10),
        }
    return initialised(layers, seed)
