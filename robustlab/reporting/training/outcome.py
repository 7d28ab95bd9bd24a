"""How a training ended, in sentences: its test figures, why it stopped, which epoch was kept."""

from __future__ import annotations

import numpy as np

from robustlab.reporting.training.held_out import percent
from robustlab.reporting.training.record import Training, rate_of, text, whole
from robustlab.statistics import Rate
from robustlab.verdict import code, norm_name, plural

__all__ = ["figure_sentences", "kept_sentence", "stopped_sentence"]


def figure_sentences(training: Training) -> list[str]:
    """The test figures, clean and under attack, as sentences."""
    test = rate_of(training.card.get("test"))
    name = code(training.name)
    if test is None:
        told = [f"How well {name} does on test images is not recorded."]
    else:
        told = [f"{name} is right on {test} of {_images(test)}."]
    attack = training.table("adversarial")
    if not attack:
        return told
    robust = rate_of(attack.get("test"))
    norm = attack.get("norm")
    steps = whole(attack.get("steps"))
    of = f" with {plural(steps, 'steps')}" if steps else ""
    against = f"an attack{of} at eps {text(attack.get('eps'))}"
    against += f" ({norm_name(norm)})" if isinstance(norm, str) and len(norm) < 20 else ""
    if robust is None:
        told.append(f"It was trained against {against}; robust test accuracy is not recorded.")
    else:
        told.append(
            f"Under {against}, {robust} of {_images(robust)} remain right. That is an upper bound: "
            "a stronger attack may find less."
        )
    return told


def _images(rate: Rate) -> str:
    return plural(rate.n, "test images")


def stopped_sentence(training: Training) -> str:
    """Why training stopped."""
    stopped, epochs = training.card.get("stopped"), training.epochs
    planned = whole(training.table("recipe", "train").get("epochs"))
    of = f" of {planned}" if planned and planned > epochs else ""
    if stopped == "all epochs":
        return f"Training ran all of its {plural(epochs, 'epochs')}."
    if stopped == "early stopping":
        patience = whole(training.table("recipe", "train").get("patience"))
        lasted = f" for {plural(patience, 'epochs')}" if patience else ""
        return (
            f"Early stopping ended training after epoch {epochs}{of}: validation had not improved"
            f"{lasted}."
        )
    if isinstance(stopped, str) and stopped:
        return f"Training broke off after epoch {epochs}{of}: {text(stopped)}."
    if not epochs:
        return "Why training stopped is not recorded."
    if epochs == planned:
        return f"Training ran all of its {plural(epochs, 'epochs')}."
    return f"Why training stopped is not recorded; the curve ends with epoch {epochs}{of}."


def kept_sentence(training: Training) -> str:
    """Which epoch's weights are kept, and what stood out about it."""
    epoch = training.kept
    if epoch is None:
        return ""
    robust = training.at("val_robust_accuracy", epoch) is not None
    column = "val_robust_accuracy" if robust else "val_accuracy"
    what = "robust validation accuracy" if robust else "validation accuracy"
    value, values = training.at(column, epoch), training.curve.get(column)
    told = f"Kept are the weights of epoch {epoch}"
    if value is None or values is None:
        return f"{told}."
    if value < np.nanmax(values):
        return f"{told}, where {what} was {percent(value)}; it was not the highest."
    ties = int((values == value).sum()) - 1
    shared = f", as in {plural(ties, 'other epochs')}" if ties else ""
    return f"{told}, where {what} was highest ({percent(value)}{shared})."
