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

# How far beyond the answer, as multiples of it; the far ones are for random networks.
_MULTIPLES = (1.0, 1.001, 1.004, 1.016, 1.064, 1.256, 2.0)
_NEAR = 1.004  # no further for rounding alone: a thousandth is enough where a network is smooth


@dataclass
class Smallest:
    """What one search found of the images that it has searched; each field has a row an image.

    Attributes:
        first, clear: the first point that fools, and the first that does so beyond rounding.
        first_logits, clear_logits: the judge's own of them.
    """

    searched: Tensor
    claimed: Tensor
    first: Tensor
    first_logits: Tensor
    clear: Tensor
    clear_logits: Tensor

    @classmethod
    def of(cls, x: Tensor, logits: Tensor) -> Smallest:
        """Nothing searched yet: the clean images and their logits."""
        nothing = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        pairs = (one.clone() for one in (x, logits, x, logits))
        return cls(nothing, nothing.clone(), *pairs)

    def candidates(self, rows: Tensor, fits: Tensor) -> tuple[Tensor, Tensor]:
        """Images and logits: the clear point where it fits the budget (bool [n]), else the first.

        A candidate that the judge was fooled by is never given up for one further away.
        """
        wide = fits.view(-1, 1, 1, 1)
        images = torch.where(wide, self.clear[rows], self.first[rows])
        return images, torch.where(fits[:, None], self.clear_logits[rows], self.first_logits[rows])


Point = tuple[Tensor, Tensor]  # images, and the judge's logits of them


def beyond(
    judge: Judge, x: Tensor, y: Tensor, x_adv: Tensor, threat: Threat
) -> tuple[Point, Point, Tensor]:
    """From ``x_adv`` [n, C, H, W] on, away from ``x``: the first point that fools, and the first
    that fools beyond rounding.

    The second is looked for a little way only, and is the first where there is none.

    Returns:
        Both, and the size of the first in the threat's norm, [n]: inf where none fools, or where
        ``x_adv`` is not an image in the box.
    """
    sound = ((x_adv >= 0) & (x_adv <= 1)).flatten(1).all(dim=1)  # false for NaN
    won = torch.zeros_like(sound)
    first, logits_first = x_adv.clone(), judge.logits(x_adv.nan_to_num(0.0))
    clear, logits_clear = first.clone(), logits_first.clone()
    rows = (sound & (x_adv != x).flatten(1).any(dim=1)).nonzero().squeeze(1)
    for multiple in _MULTIPLES:
        if len(rows) == 0:
            break
        point = stretched(x_adv[rows], x[rows], multiple)
        logits = logits_first[rows] if multiple == 1.0 else judge.logits(point)
        target = None if threat.target is None else threat.target[rows]
        hit = fooled(logits, y[rows], target)
        new, sure = hit & ~won[rows], hit & _beyond_rounding(logits, y[rows], target)
        first[rows[new]], logits_first[rows[new]] = point[new], logits[new]
        taken = new | sure
        clear[rows[taken]], logits_clear[rows[taken]] = point[taken], logits[taken]
        won[rows[new]] = True
        rows = rows[~sure & ~(won[rows] & (multiple >= _NEAR))]
    size = threat.distance(first, x).masked_fill(~won, torch.inf)
    return (first, logits_first), (clear, logits_clear), size


def _beyond_rounding(logits: Tensor, y: Tensor, target: Tensor | None) -> Tensor:
    scale = logits.abs().amax(dim=1).clamp_min(1e-12)
    return margin(logits, y, target) > 2 * FRAGILE_MARGIN * scale


def stretched(x_adv: Tensor, x: Tensor, multiple: float | Tensor) -> Tensor:
    """The point ``multiple`` times as far from ``x``, clipped to the box."""
    return (x + multiple * (x_adv - x)).clamp(0.0, 1.0)
