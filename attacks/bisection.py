"""The smallest eps at which an attack succeeds, image by image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch

from robustlab import Attack, Threat, probe


@probe("bisection")
class Bisection(Attack):
    """Bisects eps around any attack of a fixed budget: a radius for each image.

    Every image has an eps of its own: halved towards zero where the attack succeeds, raised where
    it fails. The first try has the largest of the budgets, so an image that stands there has no
    radius. A weak attack gives radii that are too large; none gives one that is too small.
    """

    minimum_norm: ClassVar[bool] = True

    attack: str = "apgd"
    """the attack of a fixed budget, by name"""
    settings: Any = None
    """a table of that attack's parameters, such as {steps = 50}"""
    rounds: int = 10
    """tries an image; the radius is found to 2^(1 - rounds) of the largest budget"""

    def check(self) -> None:
        self.at_least("rounds", 1)
        if self.inner.minimum_norm:
            self.refuse(f"{self.attack!r} finds the smallest perturbation itself; run it as it is")

    def uses(self) -> Sequence[str]:
        return [self.attack]

    @property
    def inner(self) -> Any:
        """The attack that is tried at each eps."""
        return self.member(self.attack, self.settings or {})

    def is_random(self) -> bool:
        return bool(self.inner.is_random())

    def passes(self) -> int:
        return self.rounds * int(self.inner.restarts * self.inner.passes()) + 9

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Threat, rng: Any) -> Any:
        inner = self.inner
        low = torch.zeros_like(x[:, :1, :1, :1])
        high = torch.ones_like(low) * threat.eps
        eps, best = high.clone(), x.clone()
        claimed = torch.zeros_like(y, dtype=torch.bool)
        for _ in range(self.rounds):
            ball = replace(threat, eps=eps)
            x_adv, hit = self.tried(inner, model, x, y, ball, rng)
            best[hit], claimed[hit] = x_adv[hit], True
            reached = threat.distance(x_adv, x).to(x.dtype).view_as(eps)
            won = hit.view_as(eps)
            high = torch.where(won, torch.minimum(reached, eps), high)
            low = torch.where(won, low, eps)
            eps = torch.where(claimed.view_as(eps), (low + high) / 2, high)
        return self.shorten(model, x, y, best, claimed, threat.target), claimed

    def tried(
        self, inner: Any, model: Any, x: Any, y: Any, ball: Threat, rng: Any
    ) -> tuple[Any, Any]:
        """The inner attack from all its starts, each on what the others left standing."""
        found, claimed = x.clone(), torch.zeros_like(y, dtype=torch.bool)
        for _ in range(inner.restarts):
            rows = (~claimed).nonzero().squeeze(1)
            if len(rows) == 0:
                break
            part, own = ball.narrow(rows), rng.narrow(rows.tolist())
            some = model.narrow(rows)
            start = inner.start(x[rows], part, own)
            answer = inner.search(some, x[rows], y[rows], start, part, own)
            x_adv = answer[0] if isinstance(answer, tuple) else answer
            with torch.no_grad():
                hit = self.fooled(model.logits(x_adv), y[rows], ball.narrow(rows).target)
            found[rows[hit]], claimed[rows[hit]] = x_adv[hit], True
        return found, claimed
