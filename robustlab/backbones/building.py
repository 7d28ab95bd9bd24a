"""`build`: a fresh network by the name of its builder, with what the lab must know of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from robustlab.backbones.lectures import Builder, builder_named
from robustlab.backbones.memory import enough_memory
from robustlab.backbones.references import LIBRARIES
from robustlab.backbones.unfilled import Unfilled
from robustlab.errors import BadRequest, choices

__all__ = ["Built", "Weights", "build"]

Statistics = tuple[float, ...] | None
Weights = dict[str, Tensor]


def _as_they_are(weights: Weights) -> Weights:
    return weights


@dataclass(frozen=True)
class Built:
    """A network as its builder made it.

    Attributes:
        module: from (normalised) images [n, C, H, W] to logits [n, classes]; in train mode.
        builder: the name it was built by.
        options: every option of the builder with its value.
        input_shape: (C, H, W) of one image.
        classes: names of the classes, or their number.
        mean, std: what its images are normalised with, one number a channel, or None both.
        facts: what else is known of it, JSON-able, for the card.
        adapt: weights as files of this network hold them -> under the names of ``module``.
    """

    module: nn.Module
    builder: str
    options: dict[str, Any]
    input_shape: tuple[int, int, int]
    classes: int | tuple[str, ...]
    mean: Statistics = None
    std: Statistics = None
    facts: dict[str, Any] = field(default_factory=dict)
    adapt: Callable[[Weights], Weights] = _as_they_are


def build(builder: str, options: Mapping[str, Any], *, pretrained: bool = True) -> Built:
    """A fresh network.

    Args:
        builder: one of the lectures' networks, ``torchvision:NAME`` or ``timm:NAME``.
        options: its options, typed or as text.
        pretrained: False where weights of the user's own follow: the option ``weights`` then only
            says whose input and statistics the network has, and nothing is fetched.

    Raises:
        BadRequest: no such builder or option, a value that it refuses, too little memory, or
            published weights that cannot be had.
    """
    library, colon, name = builder.partition(":")
    if not colon:
        found = builder_named(builder)
        bound = found.bind(options)
        with enough_memory(repr(builder), lambda: _parameters(found, bound)):
            module = found(**bound)
        return Built(module, builder, bound, found.input_shape(bound), found.classes(bound))
    # torchvision takes a second to import, timm several: only who names one waits for it.
    if library == "torchvision":
        from robustlab.backbones.torchvision_source import build_torchvision

        return build_torchvision(name, options, pretrained=pretrained)
    if library == "timm":
        from robustlab.backbones.timm_source import build_timm

        return build_timm(name, options, pretrained=pretrained)
    raise BadRequest(f"unknown library {library!r} in {builder!r}{choices(library, LIBRARIES)}")


def _parameters(builder: Builder, options: dict[str, Any]) -> int:
    with Unfilled():
        return sum(one.numel() for one in builder(**options).parameters())
