"""The fast gradient sign method: one step of the full budget, or a random one before it."""

from __future__ import annotations

from typing import Any, ClassVar

from robustlab import Attack, Threat, probe


@probe("fgsm")
class FGSM(Attack):
    """One gradient step of length eps from the clean image (Goodfellow et al. 2015, section 4).

    The lectures' "panda" attack. In L2 and L1 the step follows the steepest direction of that norm.
    Cheap, and weak on purpose: it says how far a single linear step goes, never how robust a
    network is.
    """

    paper: ClassVar[str] = "Goodfellow, Shlens, Szegedy 2015, arXiv:1412.6572"

    loss: str = "ce"
    """ascended: "ce" (cross-entropy), "margin" (best other logit minus the true one) or "dlr" """

    def check(self) -> None:
        self.one_of("loss", ("ce", "margin", "dlr"))

    def passes(self) -> int:
        return 3

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Threat, rng: Any) -> Any:
        return self.gradient_search(model, x, y, start, threat, steps=1, step_size=threat.eps)


@probe("rfgsm")
class RFGSM(Attack):
    """A random step, then one gradient step of what is left of eps (Tramer et al. 2018, R+FGSM).

    The random step leaves the place where a network may hide its slope: a network trained against
    single steps can have a gradient at the clean image that leads nowhere (section 3.4). Every
    pixel first moves by plus or minus a share of eps; together the steps cannot leave the ball. As
    weak as FGSM in what it proves. In Linf alone: in L2 and L1 a random direction is nearly
    orthogonal to the gradient, and what it takes of the budget is lost.
    """

    norms: ClassVar[tuple[str, ...]] = ("linf",)
    paper: ClassVar[str] = "Tramer, Kurakin, Papernot et al. 2018, arXiv:1705.07204"

    random_step: float = 0.5
    """length of the random step as a share of eps, below 1; the gradient step takes the rest"""
    loss: str = "ce"
    """ascended: "ce" (cross-entropy), "margin" (best other logit minus the true one) or "dlr" """

    def check(self) -> None:
        self.at_least("random_step", 0.0)
        if self.random_step >= 1.0:
            self.refuse(f"random_step must be below 1, not {self.random_step}; 0.5 is the paper's")
        self.one_of("loss", ("ce", "margin", "dlr"))

    def passes(self) -> int:
        return 3

    def is_random(self) -> bool:
        return self.random_step > 0

    def start(self, x: Any, threat: Threat, rng: Any) -> Any:
        direction = x.new_tensor(rng.normal(x.shape[1:]))
        return (x + direction.sign() * (self.random_step * threat.eps)).clamp(0.0, 1.0)

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Threat, rng: Any) -> Any:
        size = (1.0 - self.random_step) * threat.eps
        return self.gradient_search(model, x, y, start, threat, steps=1, step_size=size)
