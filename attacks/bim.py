"""The basic iterative method: small gradient steps from the clean image."""

from __future__ import annotations

from typing import Any, ClassVar

from robustlab import Attack, Threat, probe


@probe("bim")
class BIM(Attack):
    """Repeated gradient steps from the clean image (Kurakin et al. 2017, section 2.2).

    Deterministic: it has no random start, so restarts would repeat it.
    """

    paper: ClassVar[str] = "Kurakin, Goodfellow, Bengio 2017, arXiv:1607.02533"

    steps: int = 10
    """gradient steps"""
    step_size: float = 0.2
    """length of a step as a share of eps; steps x step_size should be at least 1"""
    loss: str = "ce"
    """ascended: "ce" (cross-entropy), "margin" (best other logit minus the true one) or "dlr" """
    keep_best: bool = True
    """return the iterate with the largest margin instead of the last"""

    def check(self) -> None:
        self.at_least("steps", 1)
        self.at_least("step_size", 0.0)
        self.one_of("loss", ("ce", "margin", "dlr"))

    def passes(self) -> int:
        return 2 * self.steps + 1

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Threat, rng: Any) -> Any:
        return self.gradient_search(
            model,
            x,
            y,
            start,
            threat,
            steps=self.steps,
            step_size=self.step_size * threat.eps,
            keep_best=self.keep_best,
        )
