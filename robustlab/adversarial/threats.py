"""What the attacker may do: norm, budget and goal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robustlab.adversarial.geometry import (
    GEOMETRIES,
    Geometry,
    Radius,
    distance,
    nearest_l0_in_box,
    project_l1_in_box,
)
from robustlab.adversarial.hyperplane import project_on_hyperplane
from robustlab.errors import BadRequest, choices
from robustlab.randomness import SampleRandom

__all__ = ["TARGET_RULES", "Threat", "check_target", "choose_targets"]

TARGET_RULES = ("least-likely", "next", "random")


@dataclass(frozen=True)
class Threat:
    """An Lp ball around each image, and what counts as success inside it.

    Attributes:
        norm: ``"linf"``, ``"l2"``, ``"l1"`` or ``"l0"``.
        eps: radius on the [0, 1] pixel scale, in L0 a number of pixels; a column [n, 1, 1, 1] where
            each image has its own.
        target: class to reach an image, int64 [n]; None for an untargeted attack, whose goal is any
            class but the true one.
    """

    norm: str
    eps: Radius
    target: Tensor | None = None

    @property
    def geometry(self) -> Geometry:
        """Steps and projections of the norm."""
        return GEOMETRIES[self.norm]

    def narrow(self, rows: Tensor) -> Threat:
        """The same threat for some of the images."""
        eps = self.eps[rows] if isinstance(self.eps, Tensor) else self.eps
        target = None if self.target is None else self.target[rows]
        return replace(self, eps=eps, target=target)

    def constrain(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """The point of the ball around ``x`` and of the box [0, 1] that is closest to ``x_adv``.

        In L2 it is near that point: projected on the ball, then clipped to the box.
        """
        if self.norm == "l1":
            return (x + project_l1_in_box(x_adv - x, x, self.eps)).clamp(0.0, 1.0)
        if self.norm == "l0":
            return nearest_l0_in_box(x_adv, x, self.eps)
        return (x + self.geometry.project(x_adv - x, self.eps)).clamp(0.0, 1.0)

    def to_hyperplane(self, x: Tensor, normal: Tensor, offset: Tensor) -> Tensor:
        """Smallest perturbation of ``x`` [n, C, H, W] to ``normal . z = offset``, in the box."""
        flat = project_on_hyperplane(
            x.flatten(1), normal.flatten(1), offset, self.norm, channels=x.shape[1]
        )
        return flat.view_as(x)

    def distance_to_hyperplane(self, x: Tensor, normal: Tensor, offset: Tensor) -> Tensor:
        """How far the hyperplane is from ``x`` inside the box, [n].

        Where the box ends before the plane, the way to its last corner counts as much longer as it
        falls short; where the normal is zero it is infinite.
        """
        step = self.to_hyperplane(x, normal, offset)
        gain = (normal * step).flatten(1).sum(dim=1).abs()
        need = (offset - (normal * x).flatten(1).sum(dim=1)).abs()
        longer = (need / gain).nan_to_num(1.0).clamp_min(1.0)
        away = self.distance(x + step, x).to(x.dtype) * longer
        return away.masked_fill((gain == 0) & (need > 0), torch.inf)

    def random_start(self, x: Tensor, random: SampleRandom) -> Tensor:
        """A point drawn uniformly from the ball, clipped to the box; in L0 random pixels of random
        colours.
        """
        return (x + self.geometry.random(x, self.eps, random)).clamp(0.0, 1.0)

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Size of the perturbation in float64, [n]."""
        return distance(x_adv, x, self.norm)


def choose_targets(
    rule: str | int,
    labels: Tensor,
    logits: Tensor,
    classes: Sequence[str],
    random: SampleRandom,
) -> Tensor:
    """Target class an image, int64 [n].

    Args:
        rule: ``"least-likely"`` (Kurakin et al. 2017), ``"next"`` (label + 1), ``"random"`` (never
            the label), a class index or a class name.
        labels: true labels [n]; logits: clean logits [n, K].

    Raises:
        BadRequest: no such rule or class.
    """
    count = len(classes)
    if rule == "least-likely":
        return logits.argmin(dim=1)
    if rule == "next":
        return (labels + 1) % count
    if rule == "random":
        step = torch.as_tensor(random.integers(count - 1) + 1, device=labels.device)
        return (labels + step) % count
    return torch.full_like(labels, _class_index(rule, classes))


def _class_index(rule: str | int, classes: Sequence[str]) -> int:
    index = list(classes).index(rule) if isinstance(rule, str) and rule in classes else rule
    if not isinstance(index, int) or not 0 <= index < len(classes):
        raise BadRequest(f"unknown target {rule!r}{choices(str(rule), [*TARGET_RULES, *classes])}")
    return index


def check_target(rule: str | int | None, classes: Sequence[str]) -> None:
    """Refuse a target that is neither a rule nor a class, before anything runs."""
    if rule is not None and rule not in TARGET_RULES:
        _class_index(rule, classes)
