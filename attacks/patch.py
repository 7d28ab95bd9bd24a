"""One square for all images: the adversarial patch."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Any, ClassVar

import torch

from robustlab import Attack, Threat, probe

_PLACES = ("random", "centre", "corner")


@probe("patch", scope="set")
class Patch(Attack):
    """A square of pixels that fools the network on as many images as it can, wherever it lies.

    Brown et al. (2017), equation in section 2: the content ascends the mean loss over images and
    places, over mini-batches; each look lays it at a new place of each image. Steps follow the sign
    of the mean gradient, clipped an image as in `universal`, and shorten from epoch to epoch. The
    content starts grey and ends on the 8-bit levels, so that a PNG holds the very same square. A
    budget of eps pixels allows a square whose side is the root of eps, rounded down, and no longer
    than the image's shorter side. The square is moved, but neither turned nor scaled as in the
    paper. There it is aimed at one class, as with ``target = "3"``; without a target any mistake
    counts.

    No image is attacked with a square that has seen it; see `universal`. A square is one content
    for all images in one piece: as many pixels chosen image by image fool far more, and a square of
    few pixels may fool fewer images than as many random pixels scattered over each.
    """

    norms: ClassVar[tuple[str, ...]] = ("l0",)
    paper: ClassVar[str] = "Brown, Mané, Roy, Abadi, Gilmer 2017, arXiv:1712.09665"

    norm: str = "l0"
    """norm of the budget"""
    place: str = "random"
    """where it lies, in lessons and attacks: "random" (each image its own), "centre", "corner" """
    learn_on: str | None = None
    """data to learn from, such as "digits:train"; none: halves of the images teach each other"""
    take: int | None = None
    """how many images of ``learn_on``, all classes in their proportion; none: all"""
    epochs: int = 20
    """times that each image is learned from"""
    minibatch: int = 25
    """images a step of learning; decides outcomes, unlike the batch that is evaluated at a time"""
    step_size: float = 0.1
    """length of the first steps on the [0, 1] scale; they shorten linearly, by epochs"""
    clip: float = 9.0
    """loss above which an image teaches no more, so that no image outweighs the others"""
    loss: str = "ce"
    """ascended: "ce" (cross-entropy), "margin" (best other logit minus the true one) or "dlr" """

    def check(self) -> None:
        self.check_lessons()
        self.one_of("loss", ("ce", "margin", "dlr"))
        self.one_of("place", _PLACES)

    def is_random(self) -> bool:
        return self.place == "random"

    def passes(self) -> int:
        return 2 * self.epochs  # those of learning; with learn_on an image of these, not of those

    def notes(self) -> Sequence[str]:
        said = [
            self.teachers(self.learn_on, "square", "squares"),
            "The side of a square is the root of its budget in pixels, rounded down.",
        ]
        if self.restarts > 1:
            said.append(f"An image counts as fooled where one of {self.restarts} places fools it.")
        return tuple(said)

    def learn(self, lessons: Any, threat: Threat) -> Any:
        blank = lessons.blank()
        side = min(isqrt(int(threat.eps)), *blank.shape[1:])
        content = torch.full_like(blank[:, :side, :side], 0.5)
        for number in range(self.epochs if side else 0):
            step = self.step_size * (1.0 - number / self.epochs)
            for model, x, y, target, rng in lessons.epoch(number, self.minibatch):
                where = square(x, side, *self.corners(x, side, rng))
                _, losses, gradient = self.look(model, laid(x, content, where), y, target)
                silent = (losses > self.clip).view(-1, 1, 1, 1)
                mean = gradient[where].masked_fill(silent, 0.0).mean(dim=0)
                content = (content + step * mean.sign()).clamp(0.0, 1.0)
        return (content * 255.0).round() / 255.0

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
        side = learned.shape[-1]
        return laid(x, learned, square(x, side, *self.corners(x, side, rng)))

    def corners(self, x: Any, side: int, rng: Any) -> Any:
        """Row and column of each square's upper left pixel, [n] each."""
        room = [extent - side for extent in x.shape[2:]]
        if self.place == "random":
            first = [rng.integers(free + 1) for free in room]
        else:
            fixed = [free // 2 if self.place == "centre" else 0 for free in room]
            first = [[shift] * len(x) for shift in fixed]
        return [torch.as_tensor(one, device=x.device) for one in first]


def square(x: Any, side: int, top: Any, left: Any) -> Any:
    """Index of a square an image: ``x[index]`` is [n, C, side, side]."""
    image = torch.arange(len(x), device=x.device).view(-1, 1, 1, 1)
    channel = torch.arange(x.shape[1], device=x.device).view(1, -1, 1, 1)
    step = torch.arange(side, device=x.device)
    rows, columns = top[:, None] + step, left[:, None] + step
    return image, channel, rows[:, None, :, None], columns[:, None, None, :]


def laid(x: Any, content: Any, where: Any) -> Any:
    """Images with the content [C, side, side], or one an image, laid over the square ``where``."""
    x_adv = x.clone()
    x_adv[where] = content
    return x_adv
