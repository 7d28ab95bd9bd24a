"""An attack with a class to reach for each image, on a network that is made ready once.

The attack's own parameter ``target`` is one rule for all images. Here the caller says which image
is driven where, batch by batch, as often as it likes; each call holds one batch's memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.adversarial.attacker import Attacker
from robustlab.adversarial.batch import Batch
from robustlab.adversarial.borrowed import Borrowed
from robustlab.adversarial.evaluate import blank, load_batch
from robustlab.adversarial.found import Found
from robustlab.adversarial.images import exact_kernels
from robustlab.adversarial.verification import Judge
from robustlab.adversarial.ways import ways_of
from robustlab.backbones import Backbone
from robustlab.data import Data
from robustlab.errors import BadRequest
from robustlab.seeding import seeded

__all__ = ["Aimed"]


class Aimed:
    """Calling it with images and targets gives what `evaluate` gives, but for the findings.

    Args:
        attack: one with a target (whichever; it is not used) that searches the network itself.
        backbone: the network attacked.
        seed: with an image's id it decides all randomness.

    Raises:
        BadRequest: an attack without a target, or one that learns or searches elsewhere.
    """

    def __init__(self, attack: Attacker, backbone: Backbone, seed: int = 0) -> None:
        elsewhere = any(stage.searches_on() for _, stage in attack.stages())
        if attack.target is None or attack.learns or elsewhere:
            raise BadRequest("a targeted attack on the network itself is needed, as pgd")
        self.attack, self.backbone, self.seed = attack, backbone, seed
        self.judge = Judge(backbone.network, backbone.dtype, attack.eot)
        self.budgets = attack.budgets(backbone.input_shape)
        settings: dict[str, Any] = {"fast": True, "precision": "float32"}
        self.ways = ways_of(attack.stages(), backbone, Borrowed(), **settings)

    def __call__(self, data: Data, targets: NDArray[np.int64]) -> Found:
        """Drive every image of one batch at its class, int64 [n]; its label is left alone."""
        rows = np.arange(len(data))
        found = blank(self.attack, self.budgets, self.backbone, data)
        with exact_kernels(), seeded(self.seed):
            images = load_batch(
                self.attack, self.backbone, self.judge, data, rows, self.seed, targets
            )
            Batch(
                self.attack, self.budgets, self.ways, self.judge, images, self.seed, found, rows
            ).run()
        return found
