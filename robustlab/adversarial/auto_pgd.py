"""Auto-PGD: a gradient search that chooses its own step sizes.

Croce and Hein (2020), section 3, in Linf and L2: steps with momentum whose length is halved, and
the walk sent back to its best point, when the loss has risen too seldom since the last checkpoint.
Croce and Hein (2021), section 4, in L1: sparse steps whose sparsity follows that of the best point,
and balls of three, two and one times the radius one after the other.

An image costs ``steps`` backward passes and one forward pass more (in L1 three, one a ball); images
that the lab has verified as fooled leave.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robustlab.adversarial.access import Access
from robustlab.adversarial.geometry import column
from robustlab.adversarial.gradients import glance, look
from robustlab.adversarial.losses import Loss, find_loss, fooled, margin
from robustlab.adversarial.threats import Threat

__all__ = ["auto_pgd"]

RHO = 0.75  # share of rising steps below which a walk counts as oscillating
_MOMENTUM = 0.75
_FIRST, _SHRINK, _LEAST = 0.22, 0.03, 0.06  # checkpoints, as shares of the steps
_L1_PERIOD, _L1_SPARSER, _L1_SHORTER, _L1_SHORTEST = 0.04, 0.95, 1.5, 10.0
_L1_RADII = ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4))  # multiples of eps, shares of the steps


def auto_pgd(
    model: Access,
    x: Tensor,
    y: Tensor,
    start: Tensor,
    threat: Threat,
    *,
    steps: int,
    loss: str | Loss = "ce",
    inner: Tensor | None = None,
    rho: float = RHO,
    larger_radii: bool = True,
    early_exit: bool = True,
) -> tuple[Tensor, Tensor]:
    """Auto-PGD from ``start``.

    Args:
        model: counted access to the network.
        x: clean images [n, C, H, W] in [0, 1]; y: true labels [n].
        start: first iterate; it is projected where it lies outside the ball.
        threat: ball and goal.
        steps: gradient steps, at least 1.
        loss: a name of `LOSSES`, or a function ``(logits, y, target) -> [n]`` to drive upwards.
        inner: class an image that the loss aims at, [n], where the goal is any mistake.
        larger_radii: in L1, walk through larger balls first.
        early_exit: images that the lab has verified as fooled leave at once.

    Returns:
        ``(x_adv, claimed)``: for each image the fooling iterate of the largest margin, or else the
        iterate of the largest loss, and whether it fools the network as the search saw it, [n].
    """
    loss = find_loss(loss)
    aim = threat.target if inner is None else inner
    if threat.norm != "l1" or not larger_radii or steps < 3:
        return _walk(model, x, y, start, threat, aim, steps, loss, rho, early_exit)[:2]
    spent = [max(1, int(share * steps)) for _, share in _L1_RADII[:-1]]
    for (multiple, _), few in zip(_L1_RADII, [*spent, steps - sum(spent)], strict=True):
        ball = replace(threat, eps=threat.eps * multiple)
        last = multiple == 1.0
        seen = model if last else model.untraced()
        found = _walk(seen, x, y, start, ball, aim, few, loss, rho, early_exit and last)
        start = found[2]
    return found[:2]


@dataclass
class _State:
    """The walk of every image still searched; all fields but ``model`` have a row an image."""

    model: Access
    rows: Tensor
    x: Tensor
    y: Tensor
    threat: Threat
    aim: Tensor | None
    x_adv: Tensor
    before: Tensor  # the iterate before this one
    gradient: Tensor
    best: Tensor  # where the loss was largest, its gradient and its loss
    best_gradient: Tensor
    best_loss: Tensor
    loss: Tensor
    length: Tensor  # of a step, a column
    rises: Tensor  # steps since the last checkpoint that raised the loss
    checked_loss: Tensor
    halved: Tensor
    dense: Tensor  # L1: coordinates that a step may move, and that the best point has moved
    moved: Tensor

    def keep(self, kept: Tensor) -> None:
        index = kept.nonzero().squeeze(1)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value[index])
        self.model, self.threat = self.model.narrow(index), self.threat.narrow(index)

    def look(self, objective: Loss) -> Tensor:
        """Loss and gradient at the iterate; returns the logits."""
        seen = look(self.model, self.x_adv, self.y, self.aim, objective)
        logits, self.loss, self.gradient = seen
        return logits

    def go_back(self, chosen: Tensor) -> None:
        self.x_adv[chosen] = self.best[chosen]
        self.gradient[chosen] = self.best_gradient[chosen]


def _walk(
    model: Access,
    x: Tensor,
    y: Tensor,
    start: Tensor,
    threat: Threat,
    aim: Tensor | None,
    steps: int,
    objective: Loss,
    rho: float,
    early_exit: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """One walk: what it found, whether it fools, and where the loss was largest."""
    state = _begin(model, x, y, threat.constrain(start, x), threat, aim)
    found, largest, claimed = state.x_adv.clone(), x.clone(), torch.zeros_like(y, dtype=torch.bool)
    peak = torch.full_like(state.loss, -torch.inf)
    checkpoint, period = 0, _first_period(threat.norm, steps)
    for step in range(steps + 1):
        previous = state.loss
        if step < steps:
            logits = state.look(objective)
        else:
            seen = glance(state.model, state.x_adv, state.y, state.aim, objective)
            logits, state.loss = seen
        hit = fooled(logits, state.y, state.threat.target)
        value = margin(logits, state.y, state.threat.target)
        better = state.loss > state.best_loss
        state.rises += (state.loss > previous) if step else 0
        _remember(state, better, first=step == 0)
        take = torch.where(claimed[state.rows], hit & (value > peak[state.rows]), hit | better)
        rows = state.rows[take]
        found[rows], claimed[rows] = state.x_adv[take], hit[take]
        peak[rows] = value[take]
        largest[state.rows] = state.best
        if early_exit:
            gone = state.model.settled(state.x_adv, hit)
            if bool(gone.any()):
                rows = state.rows[gone]
                found[rows], claimed[rows], peak[rows] = state.x_adv[gone], True, torch.inf
                state.keep(~gone)
        if step == steps or len(state.rows) == 0:
            break
        if step - checkpoint == period:
            _check(state, period, rho)
            checkpoint, period = step, _next_period(threat.norm, steps, period)
        _move(state, first=step == 0)
    return found, claimed, largest


def _begin(
    model: Access, x: Tensor, y: Tensor, start: Tensor, threat: Threat, aim: Tensor | None
) -> _State:
    lowest = torch.full_like(x[:, 0, 0, 0], -torch.inf)
    moved = (start != x).flatten(1).sum(dim=1).to(x.dtype)
    share = torch.where(moved > 0, moved / x[0].numel() / 1.5, torch.full_like(moved, 0.2))
    first = 1.0 if threat.norm == "l1" else 2.0
    return _State(
        model=model,
        rows=torch.arange(len(x), device=x.device),
        x=x,
        y=y,
        threat=threat,
        aim=aim,
        x_adv=start.clone(),
        before=start.clone(),
        gradient=torch.zeros_like(x),
        best=start.clone(),
        best_gradient=torch.zeros_like(x),
        best_loss=lowest,
        loss=lowest.clone(),
        length=first * threat.eps * torch.ones_like(x[:, :1, :1, :1]),
        rises=torch.zeros_like(lowest),
        checked_loss=lowest.clone(),
        halved=torch.ones_like(y, dtype=torch.bool),
        dense=share.clamp_min(1.0 / x[0].numel()),
        moved=moved,
    )


def _remember(state: _State, better: Tensor, *, first: bool) -> None:
    """Where the loss was largest; and whether this step raised the loss of the one before."""
    state.best[better] = state.x_adv[better]
    state.best_gradient[better] = state.gradient[better]
    state.best_loss[better] = state.loss[better]
    if first:
        state.checked_loss = state.best_loss.clone()


def _move(state: _State, *, first: bool) -> None:
    """A step of the gradient, and in Linf and L2 a share of the step before."""
    threat, x = state.threat, state.x
    if threat.norm == "l1":
        direction = _sparse(state.gradient, state.dense, state.x_adv)
        moved = threat.constrain(state.x_adv + state.length * direction, x)
    else:
        direction = threat.geometry.ascent(state.gradient, state.x_adv)
        moved = threat.constrain(state.x_adv + state.length * direction, x)
        if not first:
            drift = (1 - _MOMENTUM) * (state.x_adv - state.before)
            moved = threat.constrain(state.x_adv + _MOMENTUM * (moved - state.x_adv) + drift, x)
    state.before, state.x_adv = state.x_adv, moved


def _sparse(gradient: Tensor, share: Tensor, x_adv: Tensor) -> Tensor:
    """Signs of the largest coordinates of the gradient, of L1 norm 1.

    Pixels that the box stops are left out, which is not in the paper: a step that spends itself on
    them goes nowhere, and the fewer pixels a step moves the likelier that is.
    """
    stopped = ((x_adv <= 0) & (gradient < 0)) | ((x_adv >= 1) & (gradient > 0))
    gradient = gradient.masked_fill(stopped, 0.0)
    size = gradient.abs().flatten(1)
    count = (share * size.shape[1]).long().clamp(1, size.shape[1])
    threshold = size.sort(dim=1, descending=True).values.gather(1, count[:, None] - 1)
    signs = torch.where(size >= threshold, gradient.flatten(1).sign(), torch.zeros_like(size))
    return (signs / signs.abs().sum(dim=1, keepdim=True).clamp_min(1e-10)).view_as(gradient)


def _check(state: _State, period: int, rho: float) -> None:
    """A checkpoint: shorter steps from the best point where the walk has stopped to pay."""
    if state.threat.norm == "l1":
        _check_sparse(state)
        return
    stuck = ~state.halved & (state.best_loss <= state.checked_loss)
    shorter = (state.rises <= rho * period) | stuck
    state.length[shorter] = state.length[shorter] / 2
    state.go_back(shorter)
    state.before[shorter] = state.x_adv[shorter]
    state.halved, state.checked_loss = shorter, state.best_loss.clone()
    state.rises = torch.zeros_like(state.rises)


def _check_sparse(state: _State) -> None:
    """Steps as sparse as the best point; longer ones again where it has become sparser."""
    moved = (state.best != state.x).flatten(1).sum(dim=1).to(state.x.dtype)
    sparser = moved < _L1_SPARSER * state.moved
    full = state.threat.eps * torch.ones_like(state.length)
    shorter = torch.maximum(state.length / _L1_SHORTER, full / _L1_SHORTEST)
    state.length = torch.where(column(sparser, state.length), full, shorter)
    state.dense = (moved / state.x[0].numel() / 1.5).clamp_min(1.0 / state.x[0].numel())
    state.go_back(sparser)
    state.moved = moved


def _first_period(norm: str, steps: int) -> int:
    return max(1, int((_L1_PERIOD if norm == "l1" else _FIRST) * steps))


def _next_period(norm: str, steps: int, period: int) -> int:
    if norm == "l1":
        return period
    return max(max(1, int(_LEAST * steps)), period - max(1, int(_SHRINK * steps)))
