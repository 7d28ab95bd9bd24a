"""Auto-PGD, and Auto-PGD at one wrong class after the other."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from robustlab import Attack, Threat, probe


@probe("apgd")
class APGD(Attack):
    """Gradient steps with momentum whose length halves when the loss stops rising (Auto-PGD).

    Nothing has to be tuned but the number of steps. In L1 the steps are sparse, and the walk goes
    through balls of three and two times the radius first (Croce and Hein 2021).
    """

    paper: ClassVar[str] = "Croce and Hein 2020, arXiv:2003.01690; L1: 2021, arXiv:2103.01208"

    steps: int = 100
    """gradient steps of each restart"""
    loss: str = "ce"
    """ascended: "ce" (cross-entropy), "margin" (best other logit minus the true one) or "dlr" """
    rho: float = 0.75
    """share of rising steps below which the steps are halved"""

    def check(self) -> None:
        self.at_least("steps", 1)
        self.at_least("rho", 0.0)
        self.one_of("loss", ("ce", "margin", "dlr"))

    def passes(self) -> int:
        looks = 3 if self.norm == "l1" and self.steps >= 3 else 1  # at the end of each ball's walk
        return 2 * self.steps + looks

    def is_random(self) -> bool:
        return True

    def start(self, x: Any, threat: Threat, rng: Any) -> Any:
        """A random point on the surface of the ball, clipped to the box."""
        shape = x.shape[1:]
        draw = rng.uniform(shape, -1.0, 1.0) if threat.norm == "linf" else rng.normal(shape)
        delta = x.new_tensor(draw)
        if threat.norm != "l1":
            power = float("inf") if threat.norm == "linf" else 2.0
            length = delta.flatten(1).norm(p=power, dim=1)
            delta = delta / length.view(-1, 1, 1, 1) * threat.eps
        return threat.constrain(x + delta, x)

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Threat, rng: Any) -> Any:
        return self.auto_pgd(model, x, y, start, threat, steps=self.steps, rho=self.rho)


@probe("apgdt")
class TargetedAPGD(APGD):
    """Auto-PGD at the likeliest wrong classes, one after the other, until one of them is reached.

    Any mistake counts. An image that is verified as fooled, also as 8-bit pixels, is left alone, so
    the cost an image lies between one walk and ``targets`` of them.
    """

    loss: str = "dlr"
    """ascended: "dlr" as published, "ce" or "margin" """
    targets: int = 9
    """wrong classes to aim at, the likeliest on the clean image first"""

    def check(self) -> None:
        super().check()
        self.at_least("targets", 1)

    def passes(self) -> int:
        return self.targets * super().passes() + 1

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Threat, rng: Any) -> Any:
        if threat.target is not None:
            return super().search(model, x, y, start, threat, rng)
        with torch.no_grad():
            others = self.wrong_classes(model(x), y)[:, : self.targets]
        found, claimed = start.clone(), torch.zeros_like(y, dtype=torch.bool)
        rows = torch.arange(len(y), device=y.device)
        for rank in range(others.shape[1]):
            if len(rows) == 0:
                break
            some, ball, part = model.narrow(rows), threat.narrow(rows), rng.narrow(rows.tolist())
            begin = start[rows] if rank == 0 else self.start(x[rows], ball, part)
            x_adv, hit = self.auto_pgd(
                some if rank == 0 else some.untraced(),  # one walk is what a curve can show
                x[rows],
                y[rows],
                begin,
                ball,
                steps=self.steps,
                rho=self.rho,
                inner=others[rows, rank],
            )
            gone = some.settled(x_adv, hit)
            take = gone | (~claimed[rows] & (hit | (rank == 0)))
            found[rows[take]], claimed[rows[hit]] = x_adv[take], True
            rows = rows[~gone] if self.early_exit else rows
        return found, claimed
