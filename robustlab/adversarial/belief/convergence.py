"""Had the search come to rest? The loss over the last tenth of its steps."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from robustlab.adversarial.access import TRACED
from robustlab.adversarial.belief.case import Case
from robustlab.outcome import Finding

__all__ = ["convergence"]

Curves = NDArray[np.float64]

_TAIL = 0.1  # share of the steps
_STEEP = 0.5  # of the slope that the whole curve has on average: over a tenth, 5 % of its range
_FEW, _SHARE = 2, 0.25  # more images than these rise: the attack was stopped, not one image


def convergence(case: Case) -> Iterator[Finding]:
    """The best loss so far, over the last tenth of the steps, of images that never left.

    An image still rises if its slope there is more than half of the curve's average slope. A fixed
    step size never comes quite to rest, so an attack is doubted if a quarter of the images rise,
    and more than two. Kept are the losses of the first search of each of the first 64 images, and
    of at most 128 steps: a longer search is not looked at, nor one for the smallest perturbation.
    """
    looked, fine = 0, True
    for number, who, stage in case.stages():
        if stage.minimum_norm:
            continue
        n = len(case.found.ids)
        whole, rising = np.zeros(n, bool), np.zeros(n, bool)
        steps = 0
        for index in range(len(case.budgets)):
            curves = case.found.losses.get((number, index))
            if curves is None:
                continue
            wide = int((~np.isnan(curves)).any(axis=0).sum())
            if not 3 <= wide < TRACED:
                continue
            stood = case.standing[index, : len(curves)] & ~np.isnan(curves[:, :wide]).any(axis=1)
            whole[: len(curves)] |= stood
            seen = curves[:, :wide].astype(np.float64)
            if getattr(stage, "loss", "ce") == "ce":
                seen = in_logits(seen)
            rising[: len(curves)] |= stood & still_rising(seen)
            steps = max(steps, wide)
        looked += int(whole.sum())
        count = int(rising.sum())
        if count > max(_FEW, _SHARE * whole.sum()):
            fine = False
            yield Finding(
                "convergence",
                "amber",
                f"{who}the loss still rises over the last tenth of {steps} steps on {{count}} of "
                "{of} images left standing: the search was stopped too early. Use more steps, or "
                "longer ones where all of them together only just reach eps.",
                case.named(rising),
                count,
                int(whole.sum()),
            )
    if looked and fine:
        yield Finding(
            "convergence", "green", "Where images were left standing, the loss was at rest."
        )


def in_logits(losses: Curves) -> Curves:
    """Cross-entropies as how far the label's logit lies behind all others together, log(e^L - 1).

    On a confident network cross-entropy grows exponentially along a straight walk, so that its own
    last tenth always seems steep. With a target the loss is minus the target's cross-entropy.
    """
    size = np.clip(np.abs(losses), 1e-37, 80.0)
    behind = np.log(np.expm1(size)) + np.maximum(np.abs(losses) - 80.0, 0.0)
    with np.errstate(invalid="ignore"):
        seen: Curves = np.where(losses < 0, -behind, behind)
    return seen


def still_rising(curves: Curves) -> NDArray[np.bool_]:
    """Whether each curve of [m, steps] still rises at its end, bool [m]."""
    best = np.maximum.accumulate(curves, axis=1)
    steps = best.shape[1]
    tail = math.ceil(_TAIL * steps)
    height = best[:, -1] - best[:, 0]
    rise = best[:, -1] - best[:, -1 - tail]
    with np.errstate(invalid="ignore"):
        real = height > 1e-5 * np.abs(best).max(axis=1)  # not the last bits of a flat curve
        rising: NDArray[np.bool_] = real & (rise > _STEEP * height * tail / (steps - 1))
    return rising
