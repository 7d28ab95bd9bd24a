"""One step's look at the network: logits, loss and the gradient of the images.

For a network that answers at random the gradient is the mean over several draws (expectation over
transformation, Athalye et al. 2018, section 4.3), and so are the logits that go with it.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from robustlab.adversarial.losses import Loss, fooled
from robustlab.errors import BadRequest

__all__ = ["CUT", "Network", "StraightThrough", "glance", "look"]

CUT = (
    "the network cuts the gradient between image and logits, so a gradient attack has nothing to "
    "follow; take square, which needs logits alone, or foolbox:HopSkipJumpAttack (predictions)"
)


class Network(Protocol):
    """What a look needs of a network."""

    @property
    def draws(self) -> int: ...
    def once(self, x: Tensor) -> Tensor: ...
    def watch(self, loss: Tensor, gradient: Tensor, won: Tensor) -> None: ...


def look(
    model: Network,
    x_adv: Tensor,
    y: Tensor,
    target: Tensor | None,
    loss: Loss,
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits [n, K], loss an image [n] and its gradient [n, C, H, W] at ``x_adv``.

    The losses are summed, not averaged: an image's gradient must not shrink with the batch.

    Args:
        model: counted access to the network.
        loss: what the attack drives upwards; see `losses`.

    Raises:
        BadRequest: there is no gradient from logits to image.
    """
    logits = values = gradient = None
    for _ in range(model.draws):
        with torch.enable_grad():
            iterate = x_adv.detach().requires_grad_(True)
            seen = model.once(iterate)
            if not seen.requires_grad:
                raise BadRequest(CUT)
            each = loss(seen, y, target)
            (slope,) = torch.autograd.grad(each.sum(), iterate)
        logits = seen.detach() if logits is None else logits + seen.detach()
        values = each.detach() if values is None else values + each.detach()
        gradient = slope if gradient is None else gradient + slope
    assert logits is not None
    assert values is not None
    assert gradient is not None
    if model.draws > 1:
        logits, values, gradient = (t / model.draws for t in (logits, values, gradient))
    model.watch(values, gradient, fooled(logits, y, target))
    return logits, values, gradient


def glance(
    model: Network, x_adv: Tensor, y: Tensor, target: Tensor | None, loss: Loss
) -> tuple[Tensor, Tensor]:
    """Logits [n, K] and loss [n] as `look` gives them, without the gradient.

    The mean of the losses of several draws is not the loss of their mean logits.
    """
    with torch.no_grad():
        seen = [model.once(x_adv) for _ in range(model.draws)]
        values = [loss(logits, y, target) for logits in seen]
    return torch.stack(seen).mean(dim=0), torch.stack(values).mean(dim=0)


class StraightThrough(nn.Module):
    """One layer forwards, another's gradient backwards (Athalye et al. 2018, section 4.1)."""

    def __init__(self, layer: nn.Module, stand_in: nn.Module | None = None) -> None:
        super().__init__()
        self.layer = layer
        self.stand_in = stand_in or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """The layer's values, with the stand-in's gradient."""
        smooth: Tensor = self.stand_in(x)
        with torch.no_grad():
            exact: Tensor = self.layer(x)
        return smooth + (exact - smooth).detach()
