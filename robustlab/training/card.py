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
from robustlab.backbones import Backbone, read_card
from robustlab.backbones.building import Built
from robustlab.errors import BadRequest
from robustlab.statistics import rate
from robustlab.training.recipe import Adversarial, Recipe

if TYPE_CHECKING:
    from robustlab.training.epoch import Epoch

__all__ = ["adversarial_figures", "card_of", "is_done", "write_network"]

_DIGITS = 6  # of the curve's numbers; more would only swell the card
_COLUMNS = (
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "val_robust_accuracy",
    "val_single_step_accuracy",
    "lr",
)


def write_network(folder: Path, card: dict[str, Any], backbone: Backbone, trace: bytes) -> Path:
    """Write the weights and the trace, then the card (it is what counts); returns the path of the
    weights."""
    from safetensors.torch import save

    path = folder / f"{card['name']}.safetensors"
    atomic.write(path, save(backbone.to("cpu").module.state_dict()))
    atomic.write(folder / f"{card['name']}.training.npz", trace)
    text = json.dumps(card, indent=1, ensure_ascii=False, allow_nan=False)
    atomic.write(path.with_suffix(".json"), f"{text}\n".encode())
    return path


def card_of(
    recipe: Recipe,
    built: Built,
    backbone: Backbone,
    curve: Sequence[Epoch],
    hits: Mapping[str, NDArray[Any]],
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """The card.

    Args:
        hits: for ``val`` and ``test``, bool [n], whether each image is classified rightly.
        facts: what else is known; keys of the card.
    """
    best = max(curve, key=lambda one: one.better)
    return {
        "name": recipe.name,
        "builder": built.builder,
        "options": built.options,
        "input_shape": list(backbone.input_shape),
        "classes": list(backbone.classes),
        "mean": backbone.mean,
        "std": backbone.std,
        "parameters": backbone.parameters,
        "validation": dataclasses.asdict(rate(hits["val"])),
        "test": dataclasses.asdict(rate(hits["test"])),
        "best_epoch": best.epoch,
        "fingerprint": backbone.fingerprint,
        "torch": torch.__version__,
        **({"facts": built.facts} if built.facts else {}),
        **facts,
        "recipe": recipe.as_dict(),
        "curve": _curve(curve),
    }


def _curve(curve: Sequence[Epoch]) -> dict[str, list[float]]:
    columns = {name: [getattr(one, name) for one in curve] for name in _COLUMNS}
    return {
        name: [
            float(f"{value:.{_DIGITS}g}") if name == "lr" else round(value, _DIGITS)
            for value in column
        ]
        for name, column in columns.items()
        if None not in column
    }


def adversarial_figures(
    adversarial: Adversarial, steps: int, robust: Mapping[str, NDArray[Any]]
) -> dict[str, Any]:
    """What was trained against, and the robust accuracy under the search that chose the epoch.

    Args:
        steps: of that search; robust: for ``val`` and ``test``, bool [n].
    """
    return {
        "method": adversarial.method,
        "norm": adversarial.norm,
        "eps": adversarial.eps,
        "steps": steps,
        "validation": dataclasses.asdict(rate(robust["val"])),
        "test": dataclasses.asdict(rate(robust["test"])),
        "note": "upper bounds, under the search of the training; a stronger attack may leave less",
    }


def is_done(path: Path, identity: Mapping[str, Any]) -> bool:
    """Whether the weights at ``path`` have landed with a card of the same recipe and data."""
    try:
        card = read_card(path.with_suffix(".json"))
    except BadRequest:
        return False
    return path.is_file() and all(card.get(key) == value for key, value in identity.items())
