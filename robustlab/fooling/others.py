"""Other networks at hand: those whose weights lie on this machine already, and know the classes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from robustlab.backbones import Backbone, list_backbones, load_backbone
from robustlab.data.imagenet import class_names
from robustlab.errors import RobustlabError

__all__ = ["downloaded", "networks_at_hand"]

_MOST = 3


def networks_at_hand(backbone: Backbone) -> tuple[Backbone, ...]:
    """At most three networks of the same classes and channels; nothing is downloaded.

    Of the shipped ones those of the same input, each of another builder; of torchvision's those
    whose weights were fetched before, the smallest first.
    """
    names = downloaded() if tuple(backbone.classes) == class_names() else _shipped(backbone)
    found: list[Backbone] = []
    for name in names:
        if name in (backbone.name, backbone.reference) or len(found) == _MOST:
            continue
        try:
            other = load_backbone(name, device=backbone.device)
        except RobustlabError:  # a file that was cut off: it was not asked for
            continue
        if other.fingerprint != backbone.fingerprint:
            found.append(other)
    return tuple(found)


def _shipped(backbone: Backbone) -> Iterator[str]:
    builders = {str(backbone.card.get("builder", ""))}
    for card in list_backbones():
        same = tuple(card["input_shape"]) == backbone.input_shape
        if not same or tuple(card["classes"]) != tuple(backbone.classes):
            continue
        if card["builder"] not in builders and not card.get("adversarial"):
            builders.add(card["builder"])
            yield str(card["name"])


def downloaded() -> list[str]:
    """``torchvision:NAME`` of the classifiers whose default weights lie in torch.hub's folder."""
    from torchvision import models

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    found = []
    for name in models.list_models(module=models):
        weights = models.get_model_weights(name)
        file = folder / Path(getattr(weights, "DEFAULT").url).name  # noqa: B009 - an alias mypy misses
        if file.is_file():
            found.append((file.stat().st_size, f"torchvision:{name}"))
    return [name for _, name in sorted(found)]
