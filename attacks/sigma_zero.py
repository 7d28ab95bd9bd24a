"""Sigma-zero: the fewest pixels that fool, by a smooth count of them and a threshold."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch

from robustlab import Attack, Threat, probe

_HALVINGS = 8  # looks for the number of pixels that suffices
_FAR = 2.0  # how far a value goes on average in a step of PGD, in units of the box


@probe("sigma_zero")
class SigmaZero(Attack):
    """Fewest pixels that fool (Cina et al. 2024, algorithm 1), then as many fewer as can be had.

    The walk raises the margin until the image is fooled, and lowers a smooth count of the changed
    pixels all along; what changed by less than a threshold is put back after each step, and the
    threshold rises while the image is fooled. The published walk counts values; here a pixel counts
    once, whatever its channels change (squared changes are summed, the largest is held against the
    threshold).

    The rest is the lab's own. Pixels are ranked by what a linearised network gains from each at the
    end of the box, and the fewest of the first that fool are looked for: at the clean image towards
    each of the ``aimed`` classes, which on a linear network is the exact answer, and again at the
    best image. PGD follows, from the best image and from the clean one, in a ball of one pixel less
    than the best takes, which shrinks as it succeeds. Last, pixels are put back, by halves and then
    one by one, the least useful first, while the image stays fooled.
    """

    paper: ClassVar[str] = "Cina et al. 2024, arXiv:2402.01879"
    norms: ClassVar[tuple[str, ...]] = ("l0",)
    minimum_norm: ClassVar[bool] = True
    loss: ClassVar[str] = "margin"

    norm: str = "l0"
    """norm of the budget"""
    steps: int = 100
    """gradient steps of the walk"""
    step_size: float = 1.0
    """largest change of a value in the first step; it falls to a tenth"""
    sigma: float = 0.001
    """softness of the count: a pixel whose squared change is sigma counts half"""
    threshold: float = 0.3
    """changes below it are put back at first"""
    change: float = 0.01
    """share of a step's length by which the threshold rises or falls"""
    aimed: int = 9
    """likeliest wrong classes whose linearised boundaries are tried first; 0: none"""
    rounds: int = 1
    """times that the pixels are ranked anew at the best image"""
    shrinking: int = 50
    """gradient steps of PGD in the shrinking ball, from each of two starts"""
    putback: int = 60
    """looks, at most, that try to put pixels back"""

    def check(self) -> None:
        self.at_least("steps", 1)
        for name in ("step_size", "threshold", "change", "aimed", "rounds", "shrinking", "putback"):
            self.at_least(name, 0)
        if self.sigma <= 0:
            self.refuse(f"sigma must be above 0, not {self.sigma}")

    def passes(self) -> int:
        looks = 2 * (self.steps + 2 * self.shrinking + 1) + bool(self.aimed) + self.putback
        return looks + (2 + _HALVINGS) * (self.aimed + self.rounds)

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Threat, rng: Any) -> Any:
        best, size = x.clone(), torch.full_like(x[:, 0, 0, 0], torch.inf)
        for aim in self.aims(model, x, y, threat):
            self.ranked(model, x, y, threat, best, size, aim)
        self.walk(model, x, y, threat, best, size)
        for _ in range(self.rounds):
            self.ranked(model, x, y, threat, best, size)
        self.shrink(model, x, y, threat, best, size, best)
        self.shrink(model, x, y, threat, best, size, x)
        self.put_back(model, x, y, threat, best, size)
        return best, size.isfinite()

    def aims(self, model: Any, x: Any, y: Any, threat: Threat) -> Any:
        """Classes [n] whose linearised boundaries are tried."""
        if threat.target is not None:
            return [threat.target] if self.aimed else []
        if not self.aimed:
            return []
        return self.wrong_classes(model(x), y)[:, : self.aimed].unbind(dim=1)

    def walk(self, model: Any, x: Any, y: Any, threat: Threat, best: Any, size: Any) -> None:
        """The published walk; improves ``best`` and ``size``."""
        x_adv = x.clone()
        threshold = torch.full_like(x[:, :1, :1, :1], self.threshold)
        for step in range(self.steps):
            ease = (1 + math.cos(math.pi * step / self.steps)) / 2
            length = self.step_size * (0.1 + 0.9 * ease)
            logits, _, slope = self.look(model, x_adv, y, threat.target)
            hit = self.fooled(logits, y, threat.target)
            keep(x_adv, hit, threat, x, best, size)
            won = hit.view(-1, 1, 1, 1)
            descent = self.count_slope(x_adv - x) - slope.masked_fill(won, 0.0)
            descent = descent / descent.flatten(1).abs().amax(dim=1).clamp_min(1e-12).view_as(
                threshold
            )
            x_adv = (x_adv - length * descent).clamp(0.0, 1.0)
            threshold = (threshold + torch.where(won, 1.0, -1.0) * self.change * length).clamp(0, 1)
            far = (x_adv - x).abs().amax(dim=1, keepdim=True)
            x_adv = torch.where(far < threshold, x, x_adv)

    def count_slope(self, delta: Any) -> Any:
        """Gradient of the mean over the pixels of ``s / (s + sigma)``, s the squared change."""
        square = delta.square().sum(dim=1, keepdim=True)
        return 2 * delta * self.sigma / (square + self.sigma).square() / square[0].numel()

    def ranked(
        self, model: Any, x: Any, y: Any, threat: Threat, best: Any, size: Any, aim: Any = None
    ) -> None:
        """The fewest pixels, in the order of what each gains, that fool; improves ``best``.

        The order is that of the network linearised at the best image; with ``aim``, at the clean
        image and towards that class.
        """
        at, goal, loss = (best, threat.target, None) if aim is None else (x, aim, self.difference)
        _, _, slope = self.look(model, at, y, goal, loss)
        ends = torch.where(slope == 0, x, (slope > 0).to(x.dtype))
        rank = ranks(-(slope * (ends - x)).sum(dim=1))
        low, high = torch.zeros_like(size), size.clamp_max(float(rank[0].numel()) + 1)
        for _ in range(_HALVINGS):
            middle = ((low + high) / 2).floor()
            tried = torch.where(rank < middle.view(-1, 1, 1, 1), ends, x)
            hit = self.fooled(model(tried), y, threat.target) & (middle > low)
            keep(tried, hit, threat, x, best, size)
            low, high = torch.where(hit, low, middle), torch.where(hit, middle, high)

    def shrink(
        self, model: Any, x: Any, y: Any, threat: Threat, best: Any, size: Any, begin: Any
    ) -> None:
        """PGD from ``begin`` on, in a ball of one pixel less than the best image takes by then."""
        x_adv, values = begin.clone(), x[0].numel()
        for _ in range(self.shrinking):
            most = (size - 1).clamp(1.0, float(values)).view(-1, 1, 1, 1)
            x_adv = Threat(threat.norm, most, threat.target).constrain(x_adv, x)
            logits, _, slope = self.look(model, x_adv, y, threat.target)
            keep(x_adv, self.fooled(logits, y, threat.target), threat, x, best, size)
            x_adv = x_adv + _FAR * values * threat.geometry.ascent(slope, x_adv)

    def put_back(self, model: Any, x: Any, y: Any, threat: Threat, best: Any, size: Any) -> None:
        """Changed pixels put back, many at a time and then one by one; the image stays fooled."""
        _, _, slope = self.look(model, best, y, threat.target)
        changed = (best != x).any(dim=1)
        rank = ranks((slope * (best - x)).sum(dim=1).masked_fill(~changed, torch.inf))
        count = changed.flatten(1).sum(dim=1)
        first, many = torch.zeros_like(count), (count // 2).clamp_min(1)
        for _ in range(self.putback):
            rows = ((first < count) & size.isfinite()).nonzero().squeeze(1)
            if len(rows) == 0:
                return
            begin = first[rows].view(-1, 1, 1, 1)
            some = (rank[rows] >= begin) & (rank[rows] < begin + many[rows].view_as(begin))
            tried, part = torch.where(some, x[rows], best[rows]), threat.narrow(rows)
            hit = self.fooled(model.narrow(rows)(tried), y[rows], part.target)
            less, left = best[rows], size[rows]
            keep(tried, hit, part, x[rows], less, left)
            hit = left < size[rows]
            best[rows], size[rows] = less, left
            one = many[rows] == 1
            first[rows] += torch.where(hit | one, many[rows], 0)
            many[rows] = torch.where(hit, many[rows], many[rows] // 2).clamp_min(1)


def keep(x_adv: Any, hit: Any, threat: Threat, x: Any, best: Any, size: Any) -> None:
    """Take over what fools with fewer pixels; none at all is the clean image, and no answer."""
    now = threat.distance(x_adv, x).to(x.dtype)
    better = hit & (now < size) & (now > 0)
    best[better], size[better] = x_adv[better], now[better]


def ranks(worth: Any) -> Any:
    """Place of each pixel in ascending order of ``worth`` [n, H, W]: [n, 1, H, W]."""
    order = worth.flatten(1).argsort(dim=1, stable=True)
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places).view_as(worth)[:, None]
