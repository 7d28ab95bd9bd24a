"""The gradient search: ascend a loss inside a ball, keep the best iterate, let the fooled go.

One loop serves FGSM, BIM and PGD in every norm. Its cost an image is ``steps`` forward and backward
passes and one forward pass more, which judges the last iterate.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustlab.adversarial.access import Access
from robustlab.adversarial.geometry import Geometry, Radius
from robustlab.adversarial.gradients import look
from robustlab.adversarial.losses import Loss, find_loss, fooled, margin
from robustlab.adversarial.threats import Threat

__all__ = ["gradient_search"]


@dataclass
class _Batch:
    """Images still searched; ``rows`` are their places in the result."""

    model: Access
    rows: Tensor
    x: Tensor
    y: Tensor
    threat: Threat
    x_adv: Tensor

    def keep(self, kept: Tensor) -> _Batch:
        index = kept.nonzero().squeeze(1)
        return _Batch(
            self.model.narrow(index),
            self.rows[index],
            self.x[index],
            self.y[index],
            self.threat.narrow(index),
            self.x_adv[index],
        )


def gradient_search(
    model: Access,
    x: Tensor,
    y: Tensor,
    start: Tensor,
    threat: Threat,
    *,
    steps: int,
    step_size: Radius,
    loss: str | Loss = "ce",
    keep_best: bool = True,
    early_exit: bool = True,
    geometry: Geometry | None = None,
) -> tuple[Tensor, Tensor]:
    """Projected steepest ascent (Madry et al. 2018, section 2.1).

    Args:
        model: counted access to the network.
        x: clean images [n, C, H, W] in [0, 1]; y: true labels [n].
        start: first iterate, inside the ball and the box.
        threat: ball and goal.
        steps: number of gradient steps, at least 1.
        step_size: length of a step in the threat's norm, a number or a column [n, 1, 1, 1].
        loss: a name of `LOSSES`, or a function ``(logits, y, target) -> [n]`` to drive upwards.
        keep_best: return the iterate with the largest margin instead of the last one.
        early_exit: images that the lab has verified as fooled leave at once.
        geometry: steps and projection, if not the threat's own.

    Returns:
        ``(x_adv, claimed)``: the iterates [n, C, H, W] and whether the network, as the search saw
        it, is fooled by them, bool [n].
    """
    ascended = find_loss(loss)
    shape = geometry or threat.geometry
    best, claimed = start.clone(), torch.zeros_like(y, dtype=torch.bool)
    best_margin = torch.full_like(x[:, 0, 0, 0], -torch.inf)
    batch = _Batch(model, torch.arange(len(x), device=x.device), x, y, threat, start)
    for step in range(steps + 1):
        last = step == steps
        logits, gradient = _evaluate(batch, ascended, with_gradient=not last)
        hit = fooled(logits, batch.y, batch.threat.target)
        value = margin(logits, batch.y, batch.threat.target)
        better = value > best_margin[batch.rows] if keep_best else torch.full_like(hit, last)
        rows = batch.rows[better]
        best[rows], best_margin[rows] = batch.x_adv[better], value[better]
        claimed[rows] = hit[better]
        if early_exit:
            gone = batch.model.settled(batch.x_adv, hit)
            if bool(gone.any()):
                rows = batch.rows[gone]
                best[rows], claimed[rows] = batch.x_adv[gone], True
                gradient = gradient[~gone] if gradient is not None else None
                step_size = step_size[~gone] if isinstance(step_size, Tensor) else step_size
                batch = batch.keep(~gone)
        if gradient is None or len(batch.rows) == 0:
            break
        move = shape.ascent(gradient, batch.x_adv).mul_(step_size).add_(batch.x_adv)
        if batch.threat.norm == "l0":
            # A pixel that the box stops must not take another's place among the few.
            batch.x_adv = batch.threat.constrain(move, batch.x)
            continue
        delta = shape.project(move.sub_(batch.x), batch.threat.eps)
        batch.x_adv = (batch.x + delta).clamp_(0.0, 1.0)
    return best, claimed


def _evaluate(batch: _Batch, loss: Loss, *, with_gradient: bool) -> tuple[Tensor, Tensor | None]:
    """Logits and, unless it is the last look, the gradient of the summed loss by the images."""
    if with_gradient:
        logits, _, gradient = look(batch.model, batch.x_adv, batch.y, batch.threat.target, loss)
        return logits, gradient
    with torch.no_grad():
        return batch.model(batch.x_adv), None
