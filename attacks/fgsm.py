"""The fast gradient sign method: one step of the full budget."""

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
