"""What the detectors are given of a network: a few images and what it says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustlab.adversarial.images import load_pixels
from robustlab.adversarial.verification import Judge
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.outcome import Finding
from robustlab.registry import resolve

__all__ = ["Detector", "Suspect"]


@dataclass(frozen=True)
class Suspect:
    """A network and a sample of the images that it is run on.

    Attributes:
        x: clean images [n, C, H, W] in [0, 1]; y: labels [n]; logits: of one pass over them,
            float64 [n, K].
        data: the sample as data; whole: all the images at hand, of which it is the first few.
    """

    backbone: Backbone
    data: Data
    whole: Data
    judge: Judge
    x: Tensor
    y: Tensor
    logits: Tensor
    runs: dict[tuple[object, ...], NDArray[np.bool_]] = field(default_factory=dict)

    @classmethod
    def of(cls, backbone: Backbone, whole: Data, sample: int) -> Suspect:
        """The first ``sample`` images."""
        rows = range(min(sample, len(whole)))
        data = whole if len(rows) == len(whole) else whole.subset(list(rows))
        judge = Judge(backbone.network, backbone.dtype)
        x, _ = load_pixels(data, list(rows), backbone)
        y = torch.tensor(data.labels).to(x.device)
        return cls(backbone, data, whole, judge, x, y, judge.logits(x).double())

    @property
    def tolerance(self) -> float:
        """What rounding may do to a logit, with a wide margin: a thousandth of the largest."""
        finite = self.logits[self.logits.isfinite()]
        return 1e-3 * float(finite.abs().max().clamp_min(1e-12)) if len(finite) else 1e-3

    def fooled_by(self, name: str, eps: str, **params: Any) -> NDArray[np.bool_]:
        """Images of the sample that an attack fools at this eps alone (Linf), bool [n]; run once.

        Raises:
            BadRequest: the attack needs a gradient, and there is none.
        """
        key = (name, eps, *sorted(params.items()))
        if key not in self.runs:
            attack = resolve(name).obj(eps=[eps], **params)
            self.runs[key] = np.asarray(attack(self.backbone, self.data, seed=0).verified[0])
        return self.runs[key]

    def named(self, rows: Tensor) -> tuple[str, ...]:
        """Ids of the images that a bool [n] chooses."""
        return tuple(str(self.data.ids[row]) for row in rows.nonzero().flatten().tolist())


Detector = Callable[[Suspect], Iterator[Finding]]
