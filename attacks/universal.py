"""One perturbation for all images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from robustlab import Attack, Threat, probe


@probe("universal", scope="set")
class Universal(Attack):
    """One perturbation that fools the network on as many images as it can.

    Such perturbations exist (Moosavi-Dezfooli et al. 2017). Here one is learned by steepest ascent
    of the mean loss, clipped an image, over mini-batches (Shafahi et al. 2020, section 3.1): Linf
    steps follow the sign of the gradient, L2 steps the normalised gradient. It is added to every
    image and the sum clipped to [0, 1]; each budget has a perturbation of its own.

    No image is attacked with a perturbation that has seen it. Without ``learn_on`` the images are
    halved, in a fixed order by their ids, and each half is attacked with what the other has taught;
    so there are two perturbations, and more images make both stronger. With ``learn_on`` there is
    one, learned from images that are not among those attacked.
    """

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    paper: ClassVar[str] = "Moosavi-Dezfooli et al. 2017, arXiv:1610.08401; Shafahi et al. 2020"

    learn_on: str | None = None
    """data to learn from, such as "digits:train"; none: halves of the images teach each other"""
    take: int | None = None
    """how many images of ``learn_on``, all classes in their proportion; none: all"""
    epochs: int = 10
    """times that each image is learned from"""
    minibatch: int = 25
    """images a step of learning; decides outcomes, unlike the batch that is evaluated at a time"""
    step_size: float = 0.2
    """length of a step as a share of eps"""
    clip: float = 9.0
    """loss above which an image teaches no more, so that no image outweighs the others"""
    loss: str = "ce"
    """ascended: "ce" (cross-entropy), "margin" (best other logit minus the true one) or "dlr" """

    def check(self) -> None:
        self.check_lessons()
        self.one_of("loss", ("ce", "margin", "dlr"))

    def passes(self) -> int:
        return 2 * self.epochs  # those of learning; with learn_on an image of these, not of those

    def notes(self) -> Sequence[str]:
        return (self.teachers(self.learn_on, "perturbation", "perturbations"),)

    def learn(self, lessons: Any, threat: Threat) -> Any:
        delta = lessons.blank()[None]
        shape, step = threat.geometry, self.step_size * threat.eps
        for number in range(self.epochs):
            for model, x, y, target, _ in lessons.epoch(number, self.minibatch):
                moved = x + delta
                _, losses, gradient = self.look(model, moved.clamp(0.0, 1.0), y, target)
                silent = (losses > self.clip).view(-1, 1, 1, 1)
                if threat.norm != "linf":
                    # Length spent where the box stops an image is lost. In Linf a pixel costs
                    # nothing, and one that is stopped on some images still learns to come back.
                    silent = silent | (moved < 0) | (moved > 1)
                mean = gradient.masked_fill(silent, 0.0).mean(dim=0, keepdim=True)
                delta = shape.project(delta + step * shape.ascent(mean, delta), threat.eps)
        return delta[0]

    def search(
        self,
        model: Any,
        x: Any,
        y: Any,
        start: Any,
        threat: Threat,
        rng: Any,
        learned: Any = None,
    ) -> Any:
        return torch.add(x, learned).clamp(0.0, 1.0)
