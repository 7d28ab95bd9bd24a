"""Integrated gradients from a plain image, with what the rule they ask for can be checked by.

Sundararajan et al. (2017): the attributions add up to the change of the logit between the plain
image and the image in question (completeness). Steps that are too few do not, so the difference is
measured. A pixel that is equal to the plain image gets zero, whatever the network does.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["BASELINES", "DOUBLINGS", "INCOMPLETE", "integrated_gradients", "off_baseline"]

# Of each measure the plain image it starts from, on the [0, 1] scale.
BASELINES = {"integrated": 0.0, "integrated_grey": 0.5}
INCOMPLETE = 0.05  # a completeness error above this is worth a warning
DOUBLINGS = 2  # so often the steps are doubled while it is


def integrated_gradients(
    network: nn.Module, x: Tensor, target: int, steps: int, baseline: float
) -> tuple[Tensor, float, int]:
    """Attributions [1, C, H, W] of one image, their completeness error, and the steps taken.

    Returns:
        Attributions by a Gauss-Legendre rule of ``steps``, doubled at most `DOUBLINGS` times while
        they are off by more than `INCOMPLETE`; then |sum - change| / |change|, where the change is
        that of the logit from the plain image to this one, 0 where both are 0; then the steps of
        all rules tried in sum.
    """
    taken = 0
    for doubled in range(DOUBLINGS + 1):
        found, off = _by_rule(network, x, target, steps * 2**doubled, baseline)
        taken += steps * 2**doubled
        if off <= INCOMPLETE:
            break
    return found, off, taken


def _by_rule(
    network: nn.Module, x: Tensor, target: int, steps: int, baseline: float
) -> tuple[Tensor, float]:
    from captum.attr import IntegratedGradients

    found, left = IntegratedGradients(network).attribute(
        x.detach().clone().requires_grad_(),
        baselines=baseline,
        target=target,
        n_steps=steps,
        internal_batch_size=16,
        return_convergence_delta=True,
    )
    total, short = float(found.detach().double().sum()), float(left.detach().double().sum())
    change = abs(total - short)
    if change == 0:
        return found, 0.0 if short == 0 else float("inf")
    return found, abs(short) / change


def off_baseline(method: str, *images: Tensor) -> NDArray[np.bool_] | None:
    """Pixel values [C, H, W] of any of some images [1, C, H, W] that differ from what a measure
    starts from; None of a measure that starts from nothing.
    """
    if method not in BASELINES:
        return None
    differ = torch.stack([x[0] != BASELINES[method] for x in images]).any(0)
    return np.asarray(differ.cpu().numpy())
