"""FMN: the smallest perturbation, by a ball that shrinks when it fools and grows when not."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch

from robustlab import Attack, Threat, probe


@probe("fmn")
class FMN(Attack):
    """Fast minimum-norm attack (Pintor et al. 2021, algorithm 1): a few passes for each radius.

    Every image has a ball of its own. Until the image is fooled the ball is where the linearised
    boundary is expected, or a little larger than before; then it shrinks by a share with each step
    that fools and grows with each that does not, the share falling to nothing.

    The published walk follows the likeliest wrong class, which need not be the nearest: here others
    follow it, each at the class of one of the nearest linearised boundaries.
    """

    paper: ClassVar[str] = "Pintor, Roli, Brendel, Biggio 2021, arXiv:2102.12827"
    minimum_norm: ClassVar[bool] = True
    loss: ClassVar[str] = "margin"

    steps: int = 200
    """gradient steps"""
    step_size: float | None = None
    """length of the first step in L2; none: 1, in Linf 10; it falls to a hundredth"""
    change: float = 0.05
    """share by which the ball changes at first"""
    aimed: int = 1
    """further walks, each at one class, the nearest first; 0: as published"""
    candidates: int = 9
    """likeliest wrong classes among which the nearest are looked for"""

    def check(self) -> None:
        self.at_least("steps", 1)
        self.at_least("change", 0.0)
        self.at_least("aimed", 0)
        self.at_least("candidates", max(1, self.aimed))
        if self.step_size is not None:
            self.at_least("step_size", 0.0)

    def passes(self) -> int:
        return 2 * self.steps * (1 + self.aimed) + 2 * self.candidates * bool(self.aimed) + 9

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Threat, rng: Any) -> Any:
        best, size = x.clone(), torch.full_like(x[:, 0, 0, 0], torch.inf)
        self.walk(model, x, y, threat, None, best, size)
        for aim in self.aims(model, x, y, threat):
            self.walk(model, x, y, threat, aim, best, size)
        claimed = size.isfinite()
        return self.shorten(model, x, y, best, claimed, threat.target), claimed

    def aims(self, model: Any, x: Any, y: Any, threat: Threat) -> Any:
        """Classes [n] that further walks aim at."""
        if threat.target is not None or not self.aimed:
            return []
        with torch.no_grad():
            likely = self.wrong_classes(model(x), y)[:, : self.candidates]
        nearest = self.nearest_classes(model, x, y, threat, likely)
        return nearest[:, : self.aimed].unbind(dim=1)

    def walk(
        self, model: Any, x: Any, y: Any, threat: Threat, aim: Any, best: Any, size: Any
    ) -> None:
        """One walk, at the likeliest wrong class or at ``aim``; improves ``best`` and ``size``."""
        usual = 10.0 if threat.norm == "linf" else 1.0
        longest = usual if self.step_size is None else self.step_size
        dual = {"linf": 1.0, "l2": 2.0, "l1": float("inf")}[threat.norm]
        goal, loss = (threat.target, None) if aim is None else (aim, self.difference)
        radius, x_adv = torch.full_like(size, torch.inf), x
        hits = torch.zeros_like(size, dtype=torch.bool)
        for step in range(self.steps):
            ease = (1 + math.cos(math.pi * step / self.steps)) / 2
            length = longest * (0.01 + 0.99 * ease)
            logits, value, slope = self.look(model, x_adv, y, goal, loss)
            hit = self.fooled(logits, y, threat.target)
            hits |= hit
            now = threat.distance(x_adv, x).to(x.dtype)
            # On the clean image itself only a network that answers at random can be fooled.
            better = hit & (now < size) & (now > 0)
            best[better], size[better] = x_adv[better], now[better]
            steep = slope.flatten(1).norm(p=dual, dim=1).clamp_min(1e-12)
            expected = now - value / steep  # the loss is below zero until the image is fooled
            share = self.change * ease
            wider = radius.nan_to_num(posinf=0.0) * (1 + share)
            first = torch.maximum(expected * (1 + self.change), wider)
            grown = torch.where(hits, wider, first)
            radius = torch.where(hit, torch.minimum(radius * (1 - share), size), grown)
            euclidean = slope.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
            x_adv = self.inside(x_adv + length * slope / euclidean, x, threat, radius)

    @staticmethod
    def inside(x_adv: Any, x: Any, threat: Threat, radius: Any) -> Any:
        """The nearest point of each image's own ball and of the box."""
        most = {"linf": 1.0, "l2": x[0].numel() ** 0.5, "l1": float(x[0].numel())}[threat.norm]
        own = radius.clamp(0.0, most).view(-1, 1, 1, 1)
        return Threat(threat.norm, own, threat.target).constrain(x_adv, x)
