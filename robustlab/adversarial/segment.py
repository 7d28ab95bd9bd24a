"""Towards the clean image until the network is right again: the last stretch of a perturbation."""

from __future__ import annotations

import torch
from torch import Tensor

from robustlab.adversarial.access import Access
from robustlab.adversarial.losses import fooled

__all__ = ["shorten"]


def shorten(
    model: Access,
    x: Tensor,
    y: Tensor,
    x_adv: Tensor,
    claimed: Tensor,
    target: Tensor | None,
    *,
    rounds: int = 8,
) -> Tensor:
    """The image nearest to ``x`` on the straight way to ``x_adv`` that a bisection finds fooling.

    What is not ``claimed`` stays as it is. It costs ``rounds`` forward passes, and leaves at most
    ``2 ** -rounds`` of the way to be saved where the network changes its mind once.
    """
    low, high = torch.zeros_like(x[:, :1, :1, :1]), torch.ones_like(x[:, :1, :1, :1])
    with torch.no_grad():
        for _ in range(rounds):
            middle = (low + high) / 2
            hit = fooled(model(x + middle * (x_adv - x)), y, target).view_as(middle)
            high, low = torch.where(hit, middle, high), torch.where(hit, low, middle)
    nearer = x + high * (x_adv - x)
    return torch.where((claimed & (high.flatten() < 1)).view_as(high), nearer, x_adv)
