"""What the detectors are given of an attack: itself, its findings, and the network's judge."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustlab.adversarial.attacker import Attacker
from robustlab.adversarial.found import Found
from robustlab.adversarial.images import load_pixels
from robustlab.adversarial.threats import Threat
from robustlab.adversarial.verification import Judge
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.outcome import Finding
from robustlab.units import SPATIAL

__all__ = ["Case", "OfAttack"]

Rows = NDArray[Any]


@dataclass(frozen=True)
class Case:
    """An attack on a network, done.

    Attributes:
        judge: the original network's, as it verified; budgets: values of ``found.eps``.
    """

    attack: Attacker
    found: Found
    backbone: Backbone
    data: Data
    judge: Judge
    budgets: tuple[float, ...]

    @property
    def standing(self) -> Rows:
        """Images that the attack was sent at and did not break, bool [eps, n]; none at eps 0.

        A search that fails matters here alone: where nothing stands, no figure rests on it.
        """
        attacked: Rows = self.found.attackable & ~self.found.verified
        return attacked & (np.array(self.budgets) > 0)[:, None]

    @property
    def spatial(self) -> bool:
        """Whether images are turned and moved: there is no ball to cross, no pixel that stays."""
        return self.found.norm == SPATIAL

    def stages(self) -> Iterator[tuple[int, str, Attacker]]:
        """The attacks that ran: number, how a sentence begins (ensembles name them), itself."""
        stages = self.attack.stages()
        for number, (name, stage) in enumerate(stages):
            yield number, f"{name}: " if len(stages) > 1 else "", stage

    def follows_gradients(self, stage: Attacker) -> bool:
        """Whether an attack says that it follows the gradients of the network attacked."""
        return stage.knowledge == "gradient"

    def walks(self, stage: Attacker) -> bool:
        """Whether it follows gradients, be they those of other networks."""
        return self.follows_gradients(stage) or stage.knowledge == "transfer"

    @property
    def transfers(self) -> bool:
        """Whether all that is claimed is what other networks say."""
        return all(stage.knowledge == "transfer" for _, _, stage in self.stages())

    def images(self, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
        """Clean images, their 8-bit pixels and their labels."""
        x, pixels = load_pixels(self.data, rows, self.backbone)
        return x, pixels, torch.as_tensor(np.asarray(self.found.labels)[rows], device=x.device)

    def candidates(self, index: int, rows: Rows) -> Tensor:
        """The attack's best images at one eps, [k, C, H, W]."""
        return torch.tensor(np.asarray(self.found.images[index][rows])).to(self.backbone.device)

    def threat(self, index: int, rows: Rows) -> Threat:
        """The ball at one eps, with the targets of some images."""
        found, device = self.found, self.backbone.device
        target = None if found.target is None else torch.as_tensor(found.target[rows])
        target = None if target is None else target.to(device)
        return self.attack.threat(self.budgets[index], target)

    def named(self, rows: Any) -> tuple[str, ...]:
        """Ids of the images that a bool [n] chooses."""
        return tuple(str(self.found.ids[row]) for row in np.flatnonzero(rows))


OfAttack = Callable[[Case], Iterator[Finding]]
