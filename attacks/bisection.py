"""The smallest eps at which an attack succeeds, image by image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch

from robustlab import Attack, Threat, probe


@probe("bisection")
class Bisection(Attack):
    """Bisects eps around one of the lab's attacks of a fixed budget: a radius for each image.

    Every image has an eps of its own: halved towards zero where the attack succeeds, raised where
    it fails. The first try has the largest of the budgets, so an image that stands there has no
    radius. A weak attack gives radii that are too large; none gives one that is too small. Images
    leave when their radius is known well enough.
    """

    minimum_norm: ClassVar[bool] = True
    cost: ClassVar[str] = "1811 * rounds + 8; of apgdt (L1: 1829), another attack has its own"

    attack: str = "apgdt"
    """the attack of a fixed budget, by name"""
    settings: Any = None
    """a table of that attack's parameters, such as {steps = 50}"""
    precision: float = 0.01
    """how near, as a share of it, the smallest radius found comes to the largest that failed"""
    rounds: int = 15
    """tries an image at most"""

    def check(self) -> None:
        self.at_least("rounds", 1)
        self.at_least("precision", 0.0)
        if self.attack.startswith("foolbox:"):
            self.refuse(f"{self.attack!r} takes one eps for all images; name an attack of the lab")
        if self.inner.members():
            self.refuse(f"{self.attack!r} is made of others; name one of them, such as 'apgdt'")
        if self.inner.searches_on() or self.inner.learns:
            self.refuse(f"{self.attack!r} does not ask the network image by image; name 'apgdt'")
        if self.inner.minimum_norm:
            self.refuse(f"{self.attack!r} finds the smallest perturbation itself; run it as it is")

    def uses(self) -> Sequence[str]:
        return [self.attack]

    @property
    def inner(self) -> Any:
        """The attack that is tried at each eps."""
        return self.member(self.attack, self.settings or {})

    @property
    def adapts(self) -> bool:
        """Whether the inner attack brings a surrogate: the search is on that."""
        return bool(self.inner.adapts)

    def surrogate(self, module: Any) -> Any:
        """The inner attack's."""
        return self.inner.surrogate(module)

    def is_random(self) -> bool:
        return bool(self.inner.is_random())

    def passes(self) -> int:
        inner = self.inner  # each try is looked at once more
        return self.rounds * int(inner.restarts * (inner.passes() + 1)) + 8

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Threat, rng: Any) -> Any:
        low = torch.zeros_like(x[:, :1, :1, :1])
        high = torch.ones_like(low) * threat.eps
        eps, best = high.clone(), x.clone()
        claimed = torch.zeros_like(y, dtype=torch.bool)
        rows = torch.arange(len(y), device=y.device)
        for _ in range(self.rounds):
            ball = replace(threat, eps=eps).narrow(rows)
            part, own = model.narrow(rows), rng.narrow(rows.tolist())
            x_adv, hit = self.tried(part, x[rows], y[rows], ball, own)
            reached = threat.distance(x_adv, x[rows]).to(x.dtype).view(-1, 1, 1, 1)
            won, lost = rows[hit], rows[~hit]
            best[won], claimed[won] = x_adv[hit], True
            high[won] = torch.minimum(reached[hit], eps[won])
            low[lost] = eps[lost]
            low[low > high] = 0.0  # the attack failed there, and has won nearer: it says nothing
            eps = (low + high) / 2
            open_ = (high - low > self.precision * high).flatten() & claimed
            rows = open_.nonzero().squeeze(1)
            if len(rows) == 0:
                break
        return self.shorten(model, x, y, best, claimed, threat.target), claimed

    def tried(self, model: Any, x: Any, y: Any, ball: Threat, rng: Any) -> tuple[Any, Any]:
        """The inner attack from all its starts, each on what the others left standing."""
        inner = self.inner
        found, claimed = x.clone(), torch.zeros_like(y, dtype=torch.bool)
        for _ in range(inner.restarts):
            rows = (~claimed).nonzero().squeeze(1)
            if len(rows) == 0:
                break
            part, own = ball.narrow(rows), rng.narrow(rows.tolist())
            some = model.narrow(rows).trusting()
            start = inner.start(x[rows], part, own)
            answer = inner.search(some, x[rows], y[rows], start, part, own)
            x_adv = answer[0] if isinstance(answer, tuple) else answer
            with torch.no_grad():
                hit = self.fooled(some(x_adv), y[rows], part.target)
            found[rows[hit]], claimed[rows[hit]] = x_adv[hit], True
        return found, claimed
