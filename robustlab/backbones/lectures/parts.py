"""`Parts`: what the option words of the lectures' networks stand for, the same in all of them."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from robustlab.backbones.lectures.initial import INITS, initialised
from robustlab.backbones.lectures.pooling import POOLS, pooling, settled
from robustlab.backbones.unfilled import Unfilled
from robustlab.errors import BadRequest, choices
from robustlab.pooling.heads import GlobalPool

__all__ = ["PADDINGS", "Layers", "Parts"]

Layers = dict[str, nn.Module]

# "valid" is the word of networks that were published without any padding.
PADDINGS: dict[str, Literal["zeros", "reflect", "replicate", "circular"]] = {
    "zero": "zeros",
    "reflect": "reflect",
    "replicate": "replicate",
    "circular": "circular",
}
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
HEADS = ("flatten", "gap", "gmp", "gem")
_LARGEST = 16_384  # of a width, size or number: more is a slip of the keyboard, not a network


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The options of one network, checked, and the layers that they ask for.

    Attributes:
        network: its name, for errors.
        published: the width it was published with; all channels scale with width / published.
        norms: the words that ``norm`` may be.
        paddings: the words that ``padding`` may be.
        (others): the options of the same name.

    Raises:
        BadRequest: a value there is not; it names the option, the network and the nearest.
    """

    network: str
    published: int = 1
    norms: tuple[str, ...] = ("batch", "off")
    paddings: tuple[str, ...] = tuple(PADDINGS)
    width: int = 1
    size: int
    channels: int
    classes: int
    pool: str = "max"
    padding: str = "zero"
    head: str = "flatten"
    activation: str = "relu"
    norm: str = "off"
    dropout: float = 0.0
    init: str = "he"
    seed: int = 0

    def __post_init__(self) -> None:
        for option in ("width", "size", "channels", "classes"):
            self.whole(option, getattr(self, option))
        self.whole("seed", self.seed, 0, 2**63 - 1)
        self.word("pool", self.pool, POOLS)
        self.word("padding", self.padding, self.paddings)
        self.word("head", self.head, HEADS)
        self.word("activation", self.activation, ACTIVATIONS)
        self.word("norm", self.norm, self.norms)
        self.word("init", self.init, INITS)
        if not isinstance(self.dropout, int | float) or not 0 <= self.dropout < 1:
            raise BadRequest(f"dropout {self.dropout!r} of {self.network!r} is not in [0, 1)")

    def whole(self, option: str, value: Any, low: int = 1, high: int = _LARGEST) -> None:
        """`BadRequest` unless the value is a whole number from ``low`` to ``high``."""
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise BadRequest(
                f"{option} {value!r} of {self.network!r} is no whole number from {low} to {high}"
            )

    def word(self, option: str, value: Any, known: Collection[Any]) -> None:
        """`BadRequest` with the nearest unless the value is a known one."""
        if not any(value == one and type(value) is type(one) for one in known):
            raise BadRequest(
                f"unknown {option} {value!r} of {self.network!r}{choices(value, known)}"
            )

    def many(self, channels: int, multiple: int = 1) -> int:
        """``channels`` of the published network at this width: rounded to a ``multiple`` of at
        least one."""
        return multiple * max(1, round(channels * self.width / self.published / multiple))

    def conv(
        self, wide: int, out: int, kernel: int, *, padding: int = 0, **geometry: Any
    ) -> nn.Conv2d:
        mode = PADDINGS[self.padding if padding else "zero"]
        return nn.Conv2d(wide, out, kernel, padding=padding, padding_mode=mode, **geometry)

    def act(self) -> nn.Module:
        return ACTIVATIONS[self.activation]()

    def pooled(
        self, kernel: int, stride: int, padding: int = 0, *, ceil: bool = False
    ) -> nn.Module:
        """The layer of a down-sampling pooling site."""
        return pooling(self.pool, kernel, stride, padding, ceil=ceil)

    def batch_norm(self, name: str, channels: int) -> Layers:
        return {name: nn.BatchNorm2d(channels)} if self.norm == "batch" else {}

    def dropped(self, name: str) -> Layers:
        return {name: nn.Dropout(self.dropout)} if self.dropout else {}

    def finished(
        self,
        features: Mapping[str, nn.Module],
        classifier: Callable[[int], Layers],
        row: type[nn.Sequential] = nn.Sequential,
    ) -> nn.Module:
        """The whole network with its weights: features, head, classifier.

        Args:
            features: from images to maps, on the meta device.
            classifier: gives the layers from so many values to the logits.
            row: the class that holds the layers.

        Raises:
            BadRequest: the size is too small for the features; it names the smallest that works.
        """
        settled(nn.ModuleDict(features), self.padding)
        channels, height, width = self.reach(features)
        pooled = self.head != "flatten"
        end: Layers = {"avgpool": self._global()} if pooled else {}
        values = channels if pooled else channels * height * width
        layers = {**features, **end, "flatten": nn.Flatten(), **classifier(values)}
        network = row(OrderedDict(layers))
        return initialised(network, self.seed, init=self.init, activation=self.activation)

    def _global(self) -> nn.Module:
        return nn.AdaptiveAvgPool2d(1) if self.head == "gap" else GlobalPool(self.head)

    def reach(self, features: Mapping[str, nn.Module]) -> tuple[int, int, int]:
        """(C, H, W) of what the features make of the input, found on the meta device."""
        row = nn.Sequential(OrderedDict(features))
        found = self._tried(row, self.size)
        if found is not None:
            return found
        for size in range(self.size + 1, 1025):
            if self._tried(row, size) is not None:
                raise BadRequest(
                    f"size {self.size} of {self.network!r} is too small; "
                    f"the smallest that works with these options is {size}"
                )
        raise BadRequest(f"no size works for these options of {self.network!r}")

    def _tried(self, features: nn.Module, size: int) -> tuple[int, int, int] | None:
        images = torch.empty(2, self.channels, size, size, device="meta")
        try:
            with torch.no_grad(), Unfilled():
                maps: Tensor = features(images)
        except RuntimeError:  # torch's word for a window that does not fit
            return None
        _, channels, height, width = maps.shape
        return (channels, height, width) if math.prod(maps.shape) else None
