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

__all__ = ["Epoch", "Recipe", "list_recipes", "load_recipe", "train"]

_HOMES = {
    "Epoch": "epoch",
    "Recipe": "recipe",
    "list_recipes": "recipe",
    "load_recipe": "recipe",
    "train": "loop",
}

__getattr__, __dir__ = doors(__name__, _HOMES)
