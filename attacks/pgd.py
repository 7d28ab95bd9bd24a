"""Projected gradient descent, the workhorse of robustness evaluation."""

from __future__ import annotations

from typing import Any, ClassVar

from robustlab import Attack, Threat, probe


@probe("pgd")
class PGD(Attack):
    """Projected gradient steps from a random start (Madry et al. 2018, section 2.1).

    Linf steps follow the sign of the gradient, L2 steps the normalised gradient, L1 steps its
    largest coordinates (Tramer and Boneh 2019). L0 steps follow the gradient, so far that the box
    decides, and keep the eps pixels nearest to where they led (Croce and Hein 2019). The best
    iterate is kept, and an image leaves as soon as the lab has verified it as fooled. More steps
    and restarts make it stronger; the rest that it leaves standing is an upper bound of robust
    accuracy, never a guarantee.
    """

    paper: ClassVar[str] = "Madry, Makelov, Schmidt, Tsipras, Vladu 2018, arXiv:1706.06083"

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")

    steps: int = 40
    """gradient steps of each restart"""
    step_size: float | None = None
    """length of a step as a share of eps; none: 2.5 / steps, so that the walk can cross the ball;
    in L0 how far a value goes on average, in units of the box; none: 2"""
    random_start: bool = True
    """start at a point drawn uniformly from the ball instead of at the clean image"""
    loss: str = "ce"
    """ascended: "ce" (cross-entropy), "margin" (best other logit minus the true one) or "dlr" """
    keep_best: bool = True
    """return the iterate with the largest margin instead of the last"""

    def check(self) -> None:
        self.at_least("steps", 1)
        if self.step_size is not None:
            self.at_least("step_size", 0.0)
        self.one_of("loss", ("ce", "margin", "dlr"))

    def passes(self) -> int:
        return 2 * self.steps + 1

    def is_random(self) -> bool:
        return self.random_start

    def start(self, x: Any, threat: Threat, rng: Any) -> Any:
        return threat.random_start(x, rng) if self.random_start else x

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Threat, rng: Any) -> Any:
        usual, unit = 2.5 / self.steps, threat.eps
        if threat.norm == "l0":  # steps have an L1 norm of one
            usual, unit = 2.0, x[0].numel()
        share = usual if self.step_size is None else self.step_size
        return self.gradient_search(
            model,
            x,
            y,
            start,
            threat,
            steps=self.steps,
            step_size=share * unit,
            keep_best=self.keep_best,
        )
