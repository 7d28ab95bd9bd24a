"""Gradient steps with momentum: the basis of most attacks that carry over to other networks."""

from __future__ import annotations

from typing import Any, ClassVar

from robustlab import Attack, Threat, probe


@probe("mifgsm")
class MIFGSM(Attack):
    """Steps along the accumulated gradient (MI-FGSM, Dong et al. 2018, algorithm 1).

    Each gradient is divided by the mean of its absolute values and added to what is left of those
    before. Linf steps follow the sign of the sum, L2 steps the normalised sum. The walk of the
    paper reaches the border with its last step and no earlier; with a larger step it is stronger
    against the network itself.
    """

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    paper: ClassVar[str] = "Dong, Liao, Pang et al. 2018, arXiv:1710.06081"

    steps: int = 10
    """gradient steps"""
    step_size: float | None = None
    """length of a step as a share of eps; none: 1 / steps"""
    decay: float = 1.0
    """what each step leaves of the gradients before it; 0: plain gradient steps"""
    loss: str = "ce"
    """ascended: "ce" (cross-entropy), "margin" (best other logit minus the true one) or "dlr" """
    keep_best: bool = True
    """return the iterate with the largest margin instead of the last"""

    def check(self) -> None:
        self.at_least("steps", 1)
        self.at_least("decay", 0.0)
        if self.step_size is not None:
            self.at_least("step_size", 0.0)
        self.one_of("loss", ("ce", "margin", "dlr"))

    def passes(self) -> int:
        return 2 * self.steps + 1

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Threat, rng: Any) -> Any:
        return self.walk(model, x, y, start, threat, nesterov=False)

    def walk(self, *args: Any, nesterov: bool) -> Any:
        """All steps, from the look at the iterate or ahead of it."""
        share = 1.0 / self.steps if self.step_size is None else self.step_size
        threat = args[-1]
        return self.momentum_search(
            *args,
            steps=self.steps,
            step_size=share * threat.eps,
            decay=self.decay,
            nesterov=nesterov,
            keep_best=self.keep_best,
        )


@probe("nifgsm")
class NIFGSM(MIFGSM):
    """As `mifgsm`, looking where the accumulated gradient leads (Lin et al. 2020, section 3.1).

    Nesterov's look ahead. Where iterates are judged on the way (to keep the best, or to let images
    leave), each step takes a forward pass more, since the look is not at the iterate.
    """

    paper: ClassVar[str] = "Lin, Song, He, Wang, Hopcroft 2020, arXiv:1908.06281"

    def passes(self) -> int:
        judged = self.keep_best or self.early_exit
        return (3 if judged else 2) * self.steps + 1

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Threat, rng: Any) -> Any:
        return self.walk(model, x, y, start, threat, nesterov=True)
