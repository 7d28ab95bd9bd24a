"""Training against held-out images: how far validation stays behind, and robustness that is lost.

Like is compared with like: of adversarial training, images attacked in the same way.
"""

from __future__ import annotations

import numpy as np

from robustlab.reporting.training.record import Floats, Training, number, rate_of
from robustlab.statistics import Rate, wilson

__all__ = [
    "FEWEST",
    "LOST",
    "SMOOTHED",
    "gap_sentence",
    "half_width",
    "percent",
    "robust_loss",
    "smoothed",
]

FEWEST = 5  # epochs below which a curve has no trend
SMOOTHED = 20  # epochs below which a curve is taken as it is
GAP = 0.05  # training above validation accuracy by more than this: far above
LOST = 0.02  # accuracy below what it was by more than this: lost


def smoothed(values: Floats) -> Floats:
    """Running median of a column over a tenth of its epochs; short curves stay as they are."""
    half = len(values) // SMOOTHED
    windows = (values[max(0, i - half) : i + half + 1] for i in range(len(values)))
    return np.array(
        [np.median(w[np.isfinite(w)]) if np.isfinite(w).any() else np.nan for w in windows]
    )


def half_width(rate: Rate | None) -> float:
    """Half the width of a rate's interval: what chance moves it by; LOST where it is unknown."""
    return (rate.high - rate.low) / 2 if rate else LOST


def gap_sentence(training: Training) -> str:
    """Training against validation accuracy in the kept epoch; empty unless it is far above, by
    more than the interval of the validation images leaves to chance."""
    epoch = training.kept or training.epochs
    column, what = _alike(training)
    train, validation = (training.at(c, epoch) for c in ("train_accuracy", column))
    # While eps still grows, training meets weaker attacks than validation does.
    grown = number(training.table("recipe", "adversarial").get("warmup")) or 0.0
    if train is None or validation is None or epoch <= grown:
        return ""
    if train - validation <= max(GAP, half_width(_rate(training, column, validation))):
        return ""
    return (
        f"In epoch {epoch} training accuracy{what} ({percent(train)}) stands "
        f"{100 * (train - validation):.1f} points above validation ({percent(validation)}): more "
        "data, augmentation or weight decay may help."
    )


def _alike(training: Training) -> tuple[str, str]:
    """The column of validation images treated as training treats its own, and how that is."""
    if training.table("recipe", "adversarial").get("method") == "fast":
        return "val_single_step_accuracy", " on images attacked by a single step"
    if "val_robust_accuracy" in training.curve:
        return "val_robust_accuracy", " on attacked images"
    return "val_accuracy", ""


def _rate(training: Training, column: str, share: float) -> Rate | None:
    """The share with its interval, from as many images as it was measured on."""
    card = training.card if column == "val_accuracy" else training.table("adversarial")
    known = rate_of(card.get("validation")) or rate_of(training.card.get("validation"))
    return wilson(round(share * known.n), known.n) if known else None


def robust_loss(training: Training) -> str:
    """Robust overfitting (Rice et al. 2020): robust accuracy falls after its best, by more than
    the interval of its images leaves to chance."""
    values = training.curve.get("val_robust_accuracy")
    if values is None or int(np.isfinite(values).sum()) < FEWEST:
        return ""
    trend = smoothed(values)
    best, last = int(np.nanargmax(trend)), float(trend[np.isfinite(trend)][-1])
    rate = rate_of(training.table("adversarial").get("validation"))
    if trend[best] - last <= max(LOST, half_width(rate)):
        return ""
    return (
        f"Robust validation accuracy, smoothed, is highest around epoch {best + 1} "
        f"({percent(float(trend[best]))}) and {100 * (float(trend[best]) - last):.1f} points "
        "lower at the end: robust overfitting (Rice et al. 2020)."
    )


def percent(share: float) -> str:
    """``98.3 %``."""
    return f"{100 * share:.1f} %"
