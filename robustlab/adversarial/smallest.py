"""Searches for the smallest perturbation: what the lab makes of their answers.

Such a search ends on the decision boundary. There the network in another precision, or the next
draw of a network that answers at random, may say otherwise. So the lab looks along the straight
line from the clean image through the answer: at the answer, then a little beyond it, further and
further, until the network is fooled by more than rounding can undo.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustlab.adversarial.losses import fooled, margin
from robustlab.adversarial.threats import Threat
from robustlab.adversarial.verification import FRAGILE_MARGIN, Judge

__all__ = ["Smallest", "beyond", "stretched"]

# How far beyond the answer, as multiples of it. A thousandth is beyond rounding where the network
# is nearly linear; the far ones are for networks that answer at random.
_MULTIPLES = (1.0, 1.001, 1.004, 1.016, 1.064, 1.256, 2.0)


@dataclass
class Smallest:
    """What one search found of the images that it has searched; each field has a row an image.

    ``logits`` are the judge's own of ``x_adv``.
    """

    searched: Tensor
    x_adv: Tensor
    claimed: Tensor
    logits: Tensor

    @classmethod
    def of(cls, x: Tensor, logits: Tensor) -> Smallest:
        """Nothing searched yet: the clean images and their logits."""
        nothing = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        return cls(nothing, x.clone(), nothing.clone(), logits.clone())


def beyond(
    judge: Judge, x: Tensor, y: Tensor, x_adv: Tensor, threat: Threat
) -> tuple[Tensor, Tensor, Tensor]:
    """The first point from ``x_adv`` [n, C, H, W] on, away from ``x``, that fools beyond rounding.

    Where none does, the first that fools; where none fools, ``x_adv`` itself.

    Returns:
        The points, the judge's logits of them [n, K], and their sizes in the threat's norm, [n]:
        inf where they do not fool, or where ``x_adv`` is not an image in the box.
    """
    sound = ((x_adv >= 0) & (x_adv <= 1)).flatten(1).all(dim=1)  # false for NaN
    chosen, seen, won = x_adv.clone(), judge.logits(x_adv.nan_to_num(0.0)), torch.zeros_like(sound)
    rows = (sound & (x_adv != x).flatten(1).any(dim=1)).nonzero().squeeze(1)
    for multiple in _MULTIPLES:
        if len(rows) == 0:
            break
        point = stretched(x_adv[rows], x[rows], multiple)
        logits = seen[rows] if multiple == 1.0 else judge.logits(point)
        target = None if threat.target is None else threat.target[rows]
        hit = fooled(logits, y[rows], target)
        new = rows[hit & ~won[rows]]
        clear = hit & (margin(logits, y[rows], target) > 2 * FRAGILE_MARGIN * _scale(logits))
        take = clear | (hit & ~won[rows])
        chosen[rows[take]], seen[rows[take]] = point[take], logits[take]
        won[new] = True
        rows = rows[~clear]
    return chosen, seen, threat.distance(chosen, x).masked_fill(~won, torch.inf)


def stretched(x_adv: Tensor, x: Tensor, multiple: float | Tensor) -> Tensor:
    """The point ``multiple`` times as far from ``x``, clipped to the box."""
    return (x + multiple * (x_adv - x)).clamp(0.0, 1.0)


def _scale(logits: Tensor) -> Tensor:
    return logits.abs().amax(dim=1).clamp_min(1e-12)
