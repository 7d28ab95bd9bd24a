"""Noise of the same size as an attack: the control that every attack must beat."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from robustlab import Attack, Threat, probe


@probe("noise")
class Noise(Attack):
    """Random perturbations on the surface of the ball, with no knowledge of the network.

    Linf: every pixel moves by +eps or -eps; L2: a Gaussian direction of length eps; L1: exponential
    spacings of total eps. Clipping to [0, 1] then shortens what would leave the box. L0: salt and
    pepper, eps pixels drawn at random whose channels go to 0 or 1, to the other where they stand
    there. With restarts an image counts as fooled when any draw fools it; each eps has draws of its
    own.
    """

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")

    knowledge: ClassVar[str] = "none"

    def is_random(self) -> bool:
        return True

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Threat, rng: Any) -> Any:
        shape = x.shape[1:]
        if threat.norm == "l0":
            ends = x.new_tensor(rng.uniform(shape)).round()
            far = torch.where(ends == x, 1.0 - ends, ends)
            # Of pixels moved equally far, those drawn first are kept.
            chosen = x.new_tensor(rng.uniform(shape[1:], 1.0, 2.0))[:, None]
            kept = threat.geometry.project(chosen.expand_as(x), threat.eps) != 0
            return torch.where(kept, far, x)
        draw = rng.exponential(shape) if threat.norm == "l1" else rng.normal(shape)
        direction = x.new_tensor(draw)
        if threat.norm == "l1":
            direction = direction * x.new_tensor(rng.uniform(shape, -1.0, 1.0)).sign()
        size = direction.flatten(1)
        if threat.norm == "linf":
            delta = direction.sign() * threat.eps
        else:
            length = size.norm(p=2 if threat.norm == "l2" else 1, dim=1)
            delta = direction / length.view(-1, 1, 1, 1) * threat.eps
        return threat.constrain(x + delta, x)
