"""Training of the shipped networks from recipes: `train`, `load_recipe`, `list_recipes`.

Lazy, so that listing the recipes needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustlab.lazy import doors

if TYPE_CHECKING:
    from robustlab.training.epoch import Epoch
    from robustlab.training.loop import train
    from robustlab.training.recipe import Recipe, list_recipes, load_recipe
    from robustlab.training.twins import Twins, list_twins, load_twins

__all__ = [
    "Epoch",
    "Recipe",
    "Twins",
    "list_recipes",
    "list_twins",
    "load_recipe",
    "load_twins",
    "train",
]

_HOMES = {
    "Epoch": "epoch",
    "Recipe": "recipe",
    "Twins": "twins",
    "list_recipes": "recipe",
    "list_twins": "twins",
    "load_recipe": "recipe",
    "load_twins": "twins",
    "train": "loop",
}

__getattr__, __dir__ = doors(__name__, _HOMES)
