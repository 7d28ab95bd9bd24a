"""Looking for the picture: an attack on the network of whole pictures, its answer as 8-bit pixels.

What the attack says, and what the lab's own judge says of the layer in front of the network, is
kept beside; the candidate itself is chosen by what a reader of its file would see.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.fooled import Pixels, Size
from robustlab.fooling.asked import Asked
from robustlab.fooling.readings import Read, look, probabilities
from robustlab.fooling.sight import Seen
from robustlab.units import Budget

__all__ = ["Candidate", "Scene", "check_size", "measure", "within"]

_LARGEST = 16_000_000  # pixels that are attacked: the search keeps some ten copies in float32


@dataclass(frozen=True)
class Candidate:
    """One answer of a search.

    Attributes:
        pixels: uint8 [C, H, W]; budget: what was allowed.
        hit: a reader of these pixels is fooled (or sees the target), and they are in the budget.
        claimed: the attack's own opinion; believed: the judge's, of 8-bit pixels.
        label, target: probabilities as the reader sees them.
        passes: forward and backward, in sum.
    """

    pixels: Pixels
    budget: Budget
    hit: bool
    claimed: bool
    believed: bool
    label: float
    target: float
    passes: int


@dataclass(frozen=True)
class Scene:
    """One picture in front of one network.

    Attributes:
        backbone: the network itself; seen: the same behind its resize and crop.
        read: a reader's eyes: 8-bit pixels to what ``backbone`` takes.
        pixels: the clean picture, uint8 [C, H, W]; key: its name for random numbers.
        label, target: indices; target None for any mistake.
    """

    backbone: Backbone
    seen: Backbone
    read: Read
    pixels: Pixels
    key: str
    label: int
    target: int | None
    seed: int

    def __post_init__(self) -> None:
        check_size(self.pixels)

    @property
    def name(self) -> str:
        """The picture's id: with the seed and the budget it decides all randomness."""
        return f"picture/{self.key}"

    @cached_property
    def looked_at(self) -> NDArray[np.bool_]:
        """Pixels that the network's view depends on, [H, W]; all, where nothing says otherwise."""
        layer, size = self.seen.module, self.pixels.shape[1:]
        if not isinstance(layer, Seen):
            return np.ones(size, bool)
        return np.asarray(layer.looked_at(*size).numpy(), bool)

    def chances(self, pixels: Pixels) -> NDArray[np.float64]:
        """Probabilities [K] as a reader of ``pixels`` gets them."""
        found: NDArray[np.float64] = probabilities(look(self.backbone, [self.read(pixels)]))[0]
        return found

    def hits(self, chances: NDArray[np.float64]) -> bool:
        """Whether such probabilities are a success."""
        top = int(chances.argmax())
        return top != self.label if self.target is None else top == self.target

    def search(self, asked: Asked, eps: str) -> Candidate:
        """Attack once with the budget ``eps``."""
        data = Data(
            self.pixels[None],
            [self.label],
            list(self.seen.classes),
            name="picture",
            ids=[self.name],
        )
        attack = asked.made(eps, self.target)
        found = attack(self.seen, data, seed=self.seed)
        budget = attack.budgets(data.shape)[0]
        nearest = np.rint(found.images[0, 0].astype(np.float64) * 255).clip(0, 255)
        choices = [found.images_8bit[0, 0], nearest.astype(np.uint8)]
        told = [self._candidate(p, asked.norm, budget) for p in choices]
        best = max(told, key=lambda one: one[:2])
        return Candidate(
            pixels=best[2],
            budget=budget,
            hit=best[0],
            claimed=bool(found.claimed[0, 0]),
            believed=bool(found.verified_8bit[0, 0]),
            label=best[3],
            target=best[4],
            passes=int(found.forward.sum() + found.backward.sum()),
        )

    def _candidate(
        self, pixels: Pixels, norm: str, budget: Budget
    ) -> tuple[bool, float, Pixels, float, float]:
        """(hit, how sure, pixels, probability of the label, of the target).

        Where the network does not look, a random start would only spoil the picture.
        """
        pixels = np.where(self.looked_at, pixels, self.pixels)
        chances = self.chances(pixels)
        label = float(chances[self.label])
        target = float("nan") if self.target is None else float(chances[self.target])
        fits = within(pixels, self.pixels, norm, budget.value)
        sure = -label if self.target is None else target
        return fits and self.hits(chances), sure if fits else -2.0, pixels, label, target


def check_size(pixels: Pixels) -> None:
    """Refuse a picture uint8 [C, H, W] that is too large to attack as a whole."""
    height, width = pixels.shape[1:]
    if height * width > _LARGEST:
        raise BadRequest(
            f"a picture of {width}x{height} pixels needs gigabytes to attack as a whole; make "
            "it smaller, or attack what the network sees of it: --on crop"
        )


def measure(changed: Pixels, clean: Pixels) -> Size:
    """The perturbation in grey levels, of two uint8 [C, H, W]."""
    step = np.abs(changed.astype(np.int64) - clean.astype(np.int64))
    return Size(
        linf=int(step.max()),
        l2=float(np.sqrt((step**2).sum())),
        l1=float(step.sum()),
        l0=int((step > 0).any(axis=0).sum()),
        pixels=int(step[0].size),
        mean=float(step.mean()),
    )


def within(changed: Pixels, clean: Pixels, norm: str, eps: float) -> bool:
    """Whether the 8-bit pixels are in the budget, counted in whole grey levels."""
    if changed.shape != clean.shape:
        return False
    size = measure(changed, clean)
    most = eps if norm == "l0" else eps * 255
    spent = {"linf": size.linf, "l2": size.l2, "l1": size.l1, "l0": size.l0}[norm]
    return bool(spent <= most * (1 + 1e-6))
