"""The gradient of an image on the original network, away from the attack."""

from __future__ import annotations

from torch import Tensor

from robustlab.adversarial.access import Access
from robustlab.adversarial.gradients import look
from robustlab.adversarial.losses import LOSSES
from robustlab.adversarial.threats import Threat
from robustlab.backbones import Backbone

__all__ = ["slopes"]


def slopes(
    backbone: Backbone, x: Tensor, y: Tensor, loss: str, threat: Threat | None = None
) -> Tensor:
    """Gradient of a loss of `LOSSES` at images ``x`` [n, C, H, W], same shape.

    Raises:
        BadRequest: no gradient leads from logits to image.
    """
    dtype = None if backbone.dtype == x.dtype else backbone.dtype
    access = Access(backbone.network, len(x), dtype=dtype)
    target = None if threat is None else threat.target
    return look(access, x, y, target, LOSSES[loss])[2]
