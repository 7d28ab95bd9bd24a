"""Attacks that learn from a set of images before they search: what they learn from, and for whom.

No image may be attacked with what was learned from it: an attack either learns from other data, or
the images are halved and each half is attacked with what the other has taught. Memory is one
mini-batch's, whatever the number of images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustlab.adversarial.access import Access
from robustlab.adversarial.images import load_pixels, working_dtype
from robustlab.adversarial.threats import choose_targets
from robustlab.adversarial.verification import Judge
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.identity import fingerprint
from robustlab.randomness import SampleRandom

__all__ = ["Course", "Learned", "Lessons", "Pupil", "apart", "check_lessons", "halves", "teachers"]

Rows = NDArray[Any]


@dataclass(frozen=True)
class Learned:
    """What was learned at one budget: ``taught`` [k, ...], and which of the k is for each image."""

    taught: Tensor
    whose: Rows

    def of(self, rows: Rows) -> Tensor:
        """What was learned for the images ``rows``, [n, ...]."""
        return self.taught[torch.as_tensor(self.whose[rows], device=self.taught.device)]


class Lessons:
    """Images to learn from, in mini-batches; their order hangs on the seed and their ids alone."""

    def __init__(self, course: Course, data: Data, rows: Rows) -> None:
        self._course, self._data = course, data
        self._rows = rows[np.argsort([data.ids[row] for row in rows])]
        self.access = Access(course.network, len(rows), None, course.dtype, course.draws)

    def __len__(self) -> int:
        return len(self._rows)

    def blank(self) -> Tensor:
        """Zeros of the shape of one image, [C, H, W]."""
        backbone = self._course.backbone
        dtype = working_dtype(backbone)
        return torch.zeros(backbone.input_shape, dtype=dtype, device=backbone.device)

    def epoch(
        self, number: int, size: int
    ) -> Iterator[tuple[Access, Tensor, Tensor, Tensor | None, SampleRandom]]:
        """All images once, in an order of this epoch's own: counted access to the network, images
        [m, C, H, W], labels [m], targets, and random numbers of each image's own stream in this
        epoch; m up to ``size``.
        """
        course, ids = self._course, [self._data.ids[row] for row in self._rows]
        drawn = SampleRandom(course.seed, ids, "lesson", number).uniform(())
        order = np.argsort(drawn, kind="stable")
        for first in range(0, len(order), size):
            places = order[first : first + size]
            rows = self._rows[places]
            x, _ = load_pixels(self._data, rows, course.backbone)
            y = torch.tensor(np.asarray(self._data.labels)[rows], device=x.device)
            chosen = [ids[place] for place in places]
            target = course.targets(x, y, chosen)
            model = self.access.narrow(torch.as_tensor(places)).untraced()
            yield model, x, y, target, SampleRandom(course.seed, chosen, "within lesson", number)

    @property
    def rows(self) -> Rows:
        """Where the images stand in their data; counts of `access` follow this order."""
        return self._rows


@dataclass(frozen=True)
class Course:
    """The network that is learned on, and what the goal is there."""

    network: nn.Module
    dtype: torch.dtype | None
    backbone: Backbone
    judge: Judge
    rule: str | int | None
    draws: int
    seed: int

    def targets(self, x: Tensor, y: Tensor, ids: list[str]) -> Tensor | None:
        """Target class an image, as the attack chooses them; none for an untargeted one."""
        if self.rule is None:
            return None
        random = SampleRandom(self.seed, ids, "target")
        return choose_targets(self.rule, y, self.judge.logits(x), self.backbone.classes, random)


class Pupil(Protocol):
    """An attack that learns, with the parameters that say from what and how long."""

    @property
    def learn_on(self) -> str | None: ...
    @property
    def take(self) -> int | None: ...
    def at_least(self, name: str, smallest: float) -> None: ...
    def refuse(self, why: str) -> NoReturn: ...


def check_lessons(pupil: Pupil) -> None:
    """Refuse parameters with which nothing can be learned.

    Raises:
        BadRequest: ``epochs``, ``minibatch`` or ``take`` below 1, ``step_size`` below 0, or
            ``take`` without ``learn_on``.
    """
    for name in ("epochs", "minibatch"):
        pupil.at_least(name, 1)
    pupil.at_least("step_size", 0.0)
    if pupil.take is not None:
        pupil.at_least("take", 1)
        if pupil.learn_on is None:
            pupil.refuse("take is of the images of learn_on; name these, as in 'digits:train'")


def teachers(learn_on: str | None, one: str, many: str) -> str:
    """The sentence beside the numbers that says from which images was learned what is called
    ``one`` ("perturbation"), in the plural ``many``.
    """
    if learn_on is not None:
        return f"One {one} an eps, learned from {learn_on}."
    return (
        f"Two {many} an eps: each half of the images is attacked with what was learned from the "
        "other half, so that no image is attacked with one that has seen it."
    )


def halves(data: Data) -> list[tuple[Rows, Rows]]:
    """Twice the images to learn from and those to attack: two halves that hang on ids, copies of an
    image in the same one.

    Raises:
        BadRequest: a single image, from which nothing can be learned for others.
    """
    if len(data) < 2:
        raise BadRequest(
            "one image alone: there is no other to learn from; give more images, or name some "
            "with learn_on, such as learn_on = 'digits:train'"
        )
    groups: dict[str, list[int]] = {}
    for row in np.argsort(data.ids):  # copies go together, under the first of their ids
        groups.setdefault(_pixels(data, row), []).append(int(row))
    if len(groups) < 2:
        raise BadRequest(
            "all images are the same: none can teach another; give others with learn_on"
        )
    first = [data.ids[rows[0]] for rows in groups.values()]
    order = np.argsort(SampleRandom(0, first, "half").uniform(()), kind="stable")
    copies = list(groups.values())
    one, other = (
        np.sort(np.concatenate([copies[place] for place in order[start::2]])) for start in (0, 1)
    )
    return [(other, one), (one, other)]


def apart(others: Data, data: Data) -> Rows:
    """Rows of ``others`` whose pixels are not those of an image of ``data``.

    Raises:
        BadRequest: none is left.
    """
    known = {_pixels(data, row) for row in range(len(data))}
    kept = [row for row in range(len(others)) if _pixels(others, row) not in known]
    if not kept:
        raise BadRequest(
            f"all images of {others.name} are among those attacked; leave learn_on out (halves "
            "then teach each other), or name another split"
        )
    return np.array(kept)


def _pixels(data: Data, row: int) -> str:
    return fingerprint([data.batch_8bit([row]).tobytes()])
