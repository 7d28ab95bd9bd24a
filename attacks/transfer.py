"""Perturbations made on other networks, and what makes them carry over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from robustlab import Attack, Threat, probe


@probe("transfer")
class Transfer(Attack):
    """Searches on surrogate networks alone, and shows the target nothing but the result.

    Gradient steps with momentum (Dong et al. 2018), or Nesterov's; inputs shrunk and moved at
    random at each look (input diversity, Xie et al. 2019); gradients smoothed with a Gaussian
    (translation-invariant, Dong et al. 2019). Several surrogates are one network of mean logits
    (Dong et al. 2018, section 3.4). The target is never asked: an image does not leave the search,
    and what is claimed is the surrogates' opinion. The figure is an upper bound of what the target
    withstands from somebody who does not have it; that networks like it break says more.
    """

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    knowledge: ClassVar[str] = "transfer"
    paper: ClassVar[str] = "Dong et al. 2018 and 2019, Xie et al. 2019, arXiv:1803.06978"

    surrogates: list[str]
    """reference of the network to search on, such as "lenet5-avg@digits", or a list of them"""
    steps: int = 10
    """gradient steps"""
    step_size: float | None = None
    """length of a step as a share of eps; none: 1 / steps"""
    decay: float = 1.0
    """what each step leaves of the gradients before it; 0: plain gradient steps"""
    nesterov: bool = False
    """look where the accumulated gradient leads"""
    diversity: float = 0.5
    """probability that an image is shrunk and moved at a look; 0: never"""
    smallest: float = 0.9
    """size to which an image is shrunk at most, as a share of its own"""
    kernel: int = 1
    """odd width of the Gaussian that smooths gradients, in pixels; 1: none, the paper's is 15"""
    loss: str = "ce"
    """ascended: "ce" (cross-entropy), "margin" (best other logit minus the true one) or "dlr" """
    keep_best: bool = False
    """return the iterate with the surrogates' largest margin instead of the last"""

    def check(self) -> None:
        if not self.surrogates:
            self.refuse("surrogates is empty; name a network, such as 'lenet5-avg@digits'")
        self.at_least("steps", 1)
        self.at_least("decay", 0.0)
        if self.step_size is not None:
            self.at_least("step_size", 0.0)
        self.at_least("diversity", 0.0)
        if self.diversity > 1:
            self.refuse(f"diversity is a probability, at most 1, not {self.diversity}")
        if not 0 < self.smallest <= 1:
            self.refuse(f"smallest is a share above 0 and at most 1, not {self.smallest}")
        if self.kernel < 1 or self.kernel % 2 == 0:
            self.refuse(f"kernel must be odd, as 1, 3 or 15, not {self.kernel}")
        self.one_of("loss", ("ce", "margin", "dlr"))
        if self.target == "least-likely":
            self.refuse("least-likely is the word of the network attacked, which is never asked")

    def searches_on(self) -> Sequence[str]:
        return self.surrogates

    def is_random(self) -> bool:
        return self.diversity > 0

    def passes(self) -> int:
        elsewhere = self.nesterov or self.diversity > 0
        return (3 if elsewhere and self.keep_best else 2) * self.steps + 1

    def notes(self) -> Sequence[str]:
        told = f"Made on {', '.join(self.surrogates)} alone; claimed is what these say."
        if self.restarts == 1:
            return (told,)
        return (told, f"Fooled is an image that any of {self.restarts} tries fools.")

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Threat, rng: Any) -> Any:
        share = 1.0 / self.steps if self.step_size is None else self.step_size
        return self.momentum_search(
            model,
            x,
            y,
            start,
            threat,
            steps=self.steps,
            step_size=share * threat.eps,
            decay=self.decay,
            nesterov=self.nesterov,
            varied=self.varied(rng, self.diversity, self.smallest) if self.diversity else None,
            kernel=self.kernel,
            keep_best=self.keep_best,
            early_exit=False,
        )
