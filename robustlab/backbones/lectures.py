"""The lectures' networks, built with fresh weights from an explicit seed.

Initialisation keeps the variance of activations: He et al. (2015) before a ReLU, LeCun's 1/fan_in
before the logits; biases are zero. The generator is the builder's own, so the global one is left
alone and twins that differ only in an option without weights (pooling) start equal.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from robustlab.errors import BadRequest, choices

__all__ = ["Builder", "builder_named", "builders"]


@dataclass(frozen=True)
class Builder:
    """A function that builds an untrained network, with what the lab must know of the result.

    Attributes:
        function: takes keyword options with literal defaults, returns the module in train mode.
        input_shape: (C, H, W) the module takes.
        classes: number of logits it gives.
    """

    function: Callable[..., nn.Module]
    input_shape: tuple[int, int, int]
    classes: int

    def __call__(self, **options: Any) -> nn.Module:
        """The module, for typed options."""
        return self.function(**options)

    @property
    def defaults(self) -> dict[str, Any]:
        """Option -> literal default."""
        parameters = inspect.signature(self.function).parameters.values()
        return {parameter.name: parameter.default for parameter in parameters}

    def bind(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Every option with its value: text is read as the type of the default.

        Raises:
            BadRequest: an option there is not, or text that is no such number.
        """
        bound = self.defaults
        for key, value in options.items():
            if key not in bound:
                raise BadRequest(
                    f"unknown option {key!r} of {self.function.__name__!r}{choices(key, bound)}"
                )
            try:
                bound[key] = type(bound[key])(value)
            except ValueError:
                raise BadRequest(
                    f"option {key}={value!r} of {self.function.__name__!r} is not "
                    f"of the kind of its default, {bound[key]!r}"
                ) from None
        return bound


builders: dict[str, Builder] = {}


def builder_named(name: str) -> Builder:
    """The builder of that name; `BadRequest` with the nearest if there is none."""
    if name not in builders:
        raise BadRequest(f"unknown builder {name!r}{choices(name, builders)}")
    return builders[name]


def _register(
    input_shape: tuple[int, int, int], classes: int
) -> Callable[[Callable[..., nn.Module]], Callable[..., nn.Module]]:
    def add(function: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        builders[function.__name__] = Builder(function, input_shape, classes)
        return function

    return add


def _initialised(layers: Mapping[str, nn.Module], seed: int) -> nn.Module:
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


@_register(input_shape=(1, 32, 32), classes=10)
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
    return _initialised(layers, seed)


@_register(input_shape=(1, 32, 32), classes=10)
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
    return _initialised(layers, seed)
