"""The multilayer perceptron: the lectures' network without convolutions."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from robustlab.backbones.lectures.initial import initialised
from robustlab.errors import BadRequest

__all__ = ["mlp"]


def mlp(*, hidden: str = "128,64", seed: int = 0) -> nn.Module:
    """A multilayer perceptron with ReLU. hidden: widths of the hidden layers, "128,64"."""
    widths = [one.strip() for one in hidden.split(",")]
    if not all(one.isdecimal() and 1 <= int(one) <= 16384 for one in widths):
        raise BadRequest(f"hidden {hidden!r} of 'mlp' is no list of widths, as '128,64'")
    sizes = [32 * 32, *map(int, widths)]
    with torch.device("meta"):
        layers: dict[str, nn.Module] = {"flatten": nn.Flatten()}
        for index, (wide, out) in enumerate(pairwise(sizes), start=1):
            layers |= {f"fc{index}": nn.Linear(wide, out), f"relu{index}": nn.ReLU()}
        layers[f"fc{len(sizes)}"] = nn.Linear(sizes[-1], 10)
    return initialised(layers, seed)
