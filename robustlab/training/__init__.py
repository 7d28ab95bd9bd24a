"""Training of the shipped networks from recipes: `train`, `load_recipe`, `list_recipes`.

Lazy, so that listing the recipes needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
