"""What an attack drives upwards, an image at a time, from logits [n, K].

``y`` is the true label; with a target the loss rises as the target wins. Losses are given per image
and summed by the search, never averaged: an image's gradient must not shrink with the batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from robustlab.errors import BadRequest, choices

__all__ = [
    "LOSSES",
    "Loss",
    "correct",
    "cross_entropy",
    "difference",
    "dlr",
    "find_loss",
    "fooled",
    "in_top5",
    "margin",
    "wrong_classes",
]

Loss = Callable[[Tensor, Tensor, "Tensor | None"], Tensor]


def cross_entropy(logits: Tensor, y: Tensor, target: Tensor | None = None) -> Tensor:
    """Cross-entropy of the true label; with a target, minus the cross-entropy of the target.

    Shape [n]. Goodfellow et al. (2015), section 4; targeted: Kurakin et al. (2017), section 2.3.
    """
    if target is None:
        return functional.cross_entropy(logits, y, reduction="none")
    return -functional.cross_entropy(logits, target, reduction="none")


def margin(logits: Tensor, y: Tensor, target: Tensor | None = None) -> Tensor:
    """Largest other logit minus the true one; with a target, the target's minus the largest other.

    Shape [n]; above zero exactly where the attack has won. Carlini and Wagner (2017), f6.
    """
    own = y if target is None else target
    chosen = logits.gather(1, own[:, None]).squeeze(1)
    others = logits.scatter(1, own[:, None], -torch.inf).amax(dim=1)
    value = others - chosen if target is None else chosen - others
    # A network that breaks down (NaN) no longer says the true label, nor does it say the target.
    return value.nan_to_num(nan=torch.inf if target is None else -torch.inf)


def difference(logits: Tensor, y: Tensor, target: Tensor | None) -> Tensor:
    """The target's logit minus the true one, shape [n]: zero on the boundary between the two."""
    assert target is not None
    return (logits.gather(1, target[:, None]) - logits.gather(1, y[:, None])).squeeze(1)


def wrong_classes(logits: Tensor, y: Tensor) -> Tensor:
    """All classes but the label, the likeliest first; int64 [n, K - 1]."""
    ordered = logits.scatter(1, y[:, None], -torch.inf).argsort(dim=1, descending=True)
    return ordered[:, :-1]


def dlr(logits: Tensor, y: Tensor, target: Tensor | None = None) -> Tensor:
    """Difference of logits ratio, shape [n]: the margin in units of the spread of the top logits,
    so that neither scaling nor shifting the logits changes it.

    Untargeted: ``-(z_y - max_other) / (z_1st - z_3rd)``; with a target:
    ``-(z_y - z_t) / (z_1st - (z_3rd + z_4th) / 2)``. Croce and Hein (2020), equations 6 and 7. With
    fewer than three classes (four with a target) there is no such spread, and the difference is
    taken as it is.
    """
    own = logits.gather(1, y[:, None]).squeeze(1)
    ordered = logits.sort(dim=1, descending=True).values
    if target is None:
        rival = logits.scatter(1, y[:, None], -torch.inf).amax(dim=1)
        least, low = 3, ordered[:, 2:3]
    else:
        rival = logits.gather(1, target[:, None]).squeeze(1)
        least, low = 4, ordered[:, 2:4]
    if logits.shape[1] < least:
        return rival - own
    return (rival - own) / (ordered[:, 0] - low.mean(dim=1) + 1e-12)


def correct(logits: Tensor, y: Tensor) -> Tensor:
    """Whether the prediction (argmax) is the label, bool [n]; logits with a NaN say nothing."""
    return (logits.argmax(dim=1) == y) & ~logits.isnan().any(dim=1)


def fooled(logits: Tensor, y: Tensor, target: Tensor | None = None) -> Tensor:
    """Whether the attack has its goal: no correct prediction, or the target predicted; bool [n]."""
    return ~correct(logits, y) if target is None else correct(logits, target)


# Of fewer classes five are so many that hardly a label is not among them.
TOP5_FROM = 20


def in_top5(logits: Tensor, y: Tensor) -> Tensor | None:
    """Whether fewer than five classes are likelier than the label, bool [n]; logits with a NaN say
    nothing. None where there are fewer than 20 classes.
    """
    if logits.shape[1] < TOP5_FROM:
        return None
    likelier = (logits > logits.gather(1, y[:, None])).sum(dim=1)
    return (likelier < 5) & ~logits.isnan().any(dim=1)


LOSSES: dict[str, Loss] = {"ce": cross_entropy, "margin": margin, "dlr": dlr}


def find_loss(loss: str | Loss) -> Loss:
    """A loss by its name; a function is taken as it is.

    Raises:
        BadRequest: no loss of that name.
    """
    if not isinstance(loss, str):
        return loss
    if loss not in LOSSES:
        raise BadRequest(f"unknown loss {loss!r}{choices(loss, LOSSES)}")
    return LOSSES[loss]
