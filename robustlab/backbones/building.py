"""`build`: a fresh network by the name of its builder, with what the lab must know of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from robustlab.backbones.lectures import builder_named

__all__ = ["Built", "build"]

Statistics = tuple[float, ...] | None


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
    """

    module: nn.Module
    builder: str
    options: dict[str, Any]
    input_shape: tuple[int, int, int]
    classes: int | tuple[str, ...]
    mean: Statistics = None
    std: Statistics = None
    facts: dict[str, Any] = field(default_factory=dict)


def build(builder: str, options: Mapping[str, Any]) -> Built:
    """A fresh network.

    Args:
        builder: one of the lectures' networks.
        options: its options, typed or as text.

    Raises:
        BadRequest: no such builder or option, or a value that it refuses.
    """
    found = builder_named(builder)
    bound = found.bind(options)
    return Built(found(**bound), builder, bound, found.input_shape(bound), found.classes(bound))
