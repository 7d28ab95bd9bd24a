"""The card of a trained network: what it is, how it was made, how well it does; and its writing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray

from robustlab import atomic
from robustlab.backbones import Backbone, builders
from robustlab.data import Data
from robustlab.statistics import rate
from robustlab.training.recipe import Recipe

if TYPE_CHECKING:
    from robustlab.training.epoch import Epoch

__all__ = ["write_network"]

_DIGITS = 6  # of the curve's numbers; more would only swell the card


def write_network(
    folder: Path,
    recipe: Recipe,
    backbone: Backbone,
    curve: Sequence[Epoch],
    parts: Mapping[str, Data],
    hits: Mapping[str, NDArray[Any]],
    seconds: float,
) -> Path:
    """Write the weights, then the card (it is what counts); returns the path of the weights.

    Args:
        parts: ``train``, ``val`` and ``test`` data.
        hits: for ``val`` and ``test``, bool [n], whether each image is classified rightly.
        seconds: wall-clock time of the training.
    """
    from safetensors.torch import save

    card = _card(recipe, backbone, curve, parts, hits, seconds)
    path = folder / f"{recipe.name}.safetensors"
    atomic.write(path, save(backbone.module.state_dict()))
    text = json.dumps(card, indent=1, ensure_ascii=False, allow_nan=False)
    atomic.write(path.with_suffix(".json"), f"{text}\n".encode())
    return path


def _card(
    recipe: Recipe,
    backbone: Backbone,
    curve: Sequence[Epoch],
    parts: Mapping[str, Data],
    hits: Mapping[str, NDArray[Any]],
    seconds: float,
) -> dict[str, Any]:
    best = max(curve, key=lambda one: one.better)
    return {
        "name": recipe.name,
        "builder": recipe.builder,
        "options": builders[recipe.builder].bind({"seed": recipe.seed, **recipe.options}),
        "input_shape": list(backbone.input_shape),
        "classes": list(backbone.classes),
        "mean": backbone.mean,
        "std": backbone.std,
        "parameters": backbone.parameters,
        "validation": dataclasses.asdict(rate(hits["val"])),
        "test": dataclasses.asdict(rate(hits["test"])),
        "best_epoch": best.epoch,
        "fingerprint": backbone.fingerprint,
        "data": {part: data.fingerprint for part, data in parts.items()},
        "torch": torch.__version__,
        "seconds": round(seconds, 1),
        "recipe": recipe.as_dict(),
        "curve": {
            column: [round(getattr(one, column), _DIGITS) for one in curve]
            for column in ("train_loss", "val_loss", "val_accuracy")
        },
    }
