"""FAB: the smallest perturbation, by walking along the decision boundary."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from robustlab import Attack, Threat, probe


class _Boundaries(Attack):
    """What both forms share: the walk, and its parameters."""

    paper: ClassVar[str] = "Croce and Hein 2020, arXiv:1907.02044"
    minimum_norm: ClassVar[bool] = True

    steps: int = 100
    """projections from each start"""
    starts: int = 1
    """walks: the first from the clean image, others from random points half as far as the best"""
    alpha_max: float = 0.1
    """largest share of the way back to the clean image in a step"""
    overshoot: float = 1.05
    """how far beyond the linearised boundary a step goes"""
    back: float = 0.9
    """share of the perturbation that is kept once it fools"""

    def check(self) -> None:
        self.at_least("steps", 1)
        self.at_least("starts", 1)

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Threat, rng: Any) -> Any:
        return self.walks(model, x, y, threat, rng, self.aims(model, x, y, threat))

    def aims(self, model: Any, x: Any, y: Any, threat: Threat) -> Any:
        """Classes [n] that the walks aim at, one after the other; None: no fixed class."""
        return [threat.target]

    def walks(
        self, model: Any, x: Any, y: Any, threat: Threat, rng: Any, aims: Any
    ) -> tuple[Any, Any]:
        """All walks; the smallest perturbation of each image, drawn in along a straight line."""
        best, size = x.clone(), torch.full_like(x[:, 0, 0, 0], torch.inf)
        for aim in aims:
            for number in range(self.starts):
                begin = x if number == 0 else self.elsewhere(x, size, threat, rng)
                self.walk(model, x, y, begin, threat, aim, best, size)
        claimed = size.isfinite()
        return self.shorten(model, x, y, best, claimed, threat.target), claimed

    def elsewhere(self, x: Any, size: Any, threat: Threat, rng: Any) -> Any:
        """A random point half as far as the best perturbation, or as the box is wide."""
        shape = x.shape[1:]
        draw = rng.uniform(shape, -1.0, 1.0) if threat.norm == "linf" else rng.normal(shape)
        delta = x.new_tensor(draw)
        widest = threat.distance(torch.ones_like(x), torch.zeros_like(x)).to(x.dtype)
        reach = 0.5 * torch.minimum(size, widest).view(-1, 1, 1, 1)
        length = threat.distance(x + delta, x).to(x.dtype).view(-1, 1, 1, 1)
        return (x + delta / length * reach).clamp(0.0, 1.0)

    def walk(
        self,
        model: Any,
        x: Any,
        y: Any,
        begin: Any,
        threat: Threat,
        aim: Any,
        best: Any,
        size: Any,
    ) -> None:
        """One walk; ``best`` and ``size`` are improved in place."""
        x_adv = begin
        for _ in range(self.steps):
            normal, offset = self.nearest(model, x_adv, y, threat, aim)
            here = threat.to_hyperplane(x_adv, normal, offset)
            there = threat.to_hyperplane(x, normal, offset)
            near = threat.distance(x_adv + here, x_adv).to(x.dtype).clamp_min(1e-8)
            far = threat.distance(x + there, x).to(x.dtype).clamp_min(1e-8)
            alpha = (near / (near + far)).clamp(0.0, self.alpha_max).view(-1, 1, 1, 1)
            ahead = (x_adv + self.overshoot * here) * (1 - alpha)
            x_adv = (ahead + (x + self.overshoot * there) * alpha).clamp(0.0, 1.0)
            with torch.no_grad():
                hit = self.fooled(model(x_adv), y, threat.target)
            length = threat.distance(x_adv, x).to(x.dtype)
            better = hit & (length < size)
            best[better], size[better] = x_adv[better], length[better]
            x_adv = torch.where(hit.view(-1, 1, 1, 1), x + self.back * (x_adv - x), x_adv)

    def nearest(self, model: Any, x_adv: Any, y: Any, threat: Threat, aim: Any) -> Any:
        """Normal and offset of the linearised boundary to ``aim`` at ``x_adv``."""
        return self.boundary(model, x_adv, y, aim)


@probe("fab")
class FAB(_Boundaries):
    """Fast adaptive boundary attack: project on the linearised boundary, drift to the clean image.

    Each step takes the nearest of all boundaries, for a gradient each (Croce and Hein 2020b,
    algorithm 1; here the nearest inside the box, among the ``candidates`` likeliest classes). With
    a target it follows that class's boundary alone.
    """

    candidates: int = 9
    """likeliest wrong classes among which the nearest is looked for, at each step; all of them, as
    published, where there are no more"""

    def check(self) -> None:
        super().check()
        self.at_least("candidates", 1)

    def passes(self) -> int:
        each = 2 * self.candidates + 2 if self.target is None else 3
        return self.starts * self.steps * each + 8

    def nearest(self, model: Any, x_adv: Any, y: Any, threat: Threat, aim: Any) -> Any:
        if aim is not None:
            return super().nearest(model, x_adv, y, threat, aim)
        with torch.no_grad():
            likely = self.wrong_classes(model(x_adv), y)[:, : self.candidates]
        least = torch.full_like(x_adv[:, 0, 0, 0], torch.inf)
        normal, offset = torch.zeros_like(x_adv), torch.zeros_like(least)
        for other in likely.unbind(dim=1):
            slope, here = self.boundary(model, x_adv, y, other)
            away = threat.distance_to_hyperplane(x_adv, slope, here)
            closer = away < least
            least[closer], normal[closer] = away[closer], slope[closer]
            offset[closer] = here[closer]
        return normal, offset


@probe("fabt")
class TargetedFAB(_Boundaries):
    """FAB at the likeliest wrong classes in turn, for one gradient a step; any mistake counts.

    The form that AutoAttack uses: its cost does not grow with the number of classes.
    """

    targets: int = 9
    """wrong classes to aim at, the likeliest on the clean image first"""

    def check(self) -> None:
        super().check()
        self.at_least("targets", 1)

    def passes(self) -> int:
        return self.targets * self.starts * self.steps * 3 + 9

    def aims(self, model: Any, x: Any, y: Any, threat: Threat) -> Any:
        if threat.target is not None:
            return [threat.target]
        with torch.no_grad():
            others = self.wrong_classes(model(x), y)[:, : self.targets]
        return list(others.unbind(dim=1))
