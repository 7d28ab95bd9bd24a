"""When a training ends before its last epoch, and in what words."""

from __future__ import annotations

from collections.abc import Sequence

from robustlab.statistics import wilson
from robustlab.training.epoch import Epoch
from robustlab.training.recipe import Recipe

__all__ = ["collapsed", "enough"]


def enough(recipe: Recipe, curve: Sequence[Epoch], watched: int) -> str:
    """Why no further epoch shall follow; empty if one shall.

    Args:
        watched: number of images robust accuracy was measured on.
    """
    if not curve:
        return ""
    last = curve[-1].epoch
    fast = recipe.adversarial is not None and recipe.adversarial.method == "fast"
    if fast and collapsed(curve, watched):
        return f"catastrophic overfitting in epoch {last}"
    if last == recipe.train.epochs:
        return "all epochs"
    best = max(curve, key=lambda one: one.better)
    patience = recipe.train.patience
    return "early stopping" if patience and last - best.epoch >= patience else ""


def collapsed(curve: Sequence[Epoch], watched: int) -> bool:
    """Whether the last epoch lost its robustness while a single step no longer shows it.

    Catastrophic overfitting (Wong et al. 2020): under several steps the accuracy is
    below half of the best epoch's, interval included, under one step it is at least that best.
    """
    *before, last = curve
    best = max((one.val_robust_accuracy or 0.0 for one in before), default=0.0)
    robust, single = last.val_robust_accuracy or 0.0, last.val_single_step_accuracy or 0.0
    return wilson(round(robust * watched), watched).high < best / 2 and single >= best
