"""The boundaries of a network, linearised at an image: which class is nearest, inside the box."""

from __future__ import annotations

import torch
from torch import Tensor

from robustlab.adversarial.gradients import Network, look
from robustlab.adversarial.losses import difference
from robustlab.adversarial.threats import Threat

__all__ = ["boundary", "nearest_classes"]


def boundary(model: Network, x: Tensor, y: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """The boundary between the classes ``y`` and ``other`` [n], linearised at ``x`` [n, C, H, W].

    Returns:
        Normals [n, C, H, W] and offsets [n] of the hyperplanes ``normal . z = offset``.
    """
    _, value, slope = look(model, x, y, other, difference)
    return slope, (slope * x).flatten(1).sum(dim=1) - value


def nearest_classes(
    model: Network, x: Tensor, y: Tensor, threat: Threat, classes: Tensor
) -> Tensor:
    """``classes`` [n, m] of each image, those first whose linearised boundary is nearest to ``x``.

    A gradient a class (DeepFool's choice, Moosavi-Dezfooli et al. 2016, equation 8, with the
    distance taken inside the box).
    """
    away = [
        threat.distance_to_hyperplane(x, *boundary(model, x, y, other))
        for other in classes.unbind(dim=1)
    ]
    return classes.gather(1, torch.stack(away, dim=1).argsort(dim=1))
