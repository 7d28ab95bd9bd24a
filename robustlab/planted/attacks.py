"""Attacks with a known fault. Each is a gradient attack of the kind that people write, spoilt once;
without its fault it is PGD.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from robustlab.adversarial import Access, Attack, Threat
from robustlab.adversarial.losses import LOSSES
from robustlab.errors import BadRequest, choices
from robustlab.randomness import SampleRandom

__all__ = ["PLANTED_ATTACKS", "planted_attack"]


class _Plain(Attack):
    """Twenty steps from the clean image, none of whose results is the lab's doing."""

    steps: int = 20
    """gradient steps"""
    step_size: float = 0.1
    """length of a step as a share of eps"""
    loss: str = "margin"
    """ascended"""
    keep_best: bool = True
    """return the iterate with the largest margin instead of the last"""

    def search(
        self, model: Access, x: Tensor, y: Tensor, start: Tensor, threat: Threat, rng: SampleRandom
    ) -> Tensor | tuple[Tensor, Tensor]:
        size = self.step_size * threat.eps
        return self.gradient_search(
            model, x, y, start, threat, steps=self.steps, step_size=size, keep_best=self.keep_best
        )

    def claims(self, model: Access, x_adv: Tensor, y: Tensor, threat: Threat) -> Any:
        """An answer with the claim that the network makes of it."""
        return x_adv, self.fooled(model.logits(x_adv), y, threat.target)


class _OutOfTheBox(_Plain):
    """Never clips to [0, 1]."""

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Any, rng: Any) -> Any:
        _, _, slope = self.look(model, x, y, threat.target)
        return self.claims(model, x + threat.eps * slope.sign(), y, threat)


class _OverBudget(_Plain):
    """Forgets the projection: the steps add up to twice eps."""

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Any, rng: Any) -> Any:
        x_adv = x
        for _ in range(self.steps):
            _, _, slope = self.look(model, x_adv, y, threat.target)
            x_adv = (x_adv + self.step_size * threat.eps * slope.sign()).clamp(0, 1)
        return self.claims(model, x_adv, y, threat)


class _NotANumber(_Plain):
    """Divides by a norm that is zero, and counts a broken image as a success."""

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Any, rng: Any) -> Any:
        x_adv = x + threat.eps * (x - start) / (x - start).norm()
        return x_adv, torch.ones_like(y, dtype=torch.bool)


class _Liar(_Plain):
    """Claims what it did not do."""

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Any, rng: Any) -> Any:
        x_adv, claimed = super().search(model, x, y, start, threat, rng)
        return x_adv, torch.ones_like(claimed)


class _NoBackward(_Plain):
    """Follows the sign of the image instead of that of the gradient."""

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Any, rng: Any) -> Any:
        return threat.constrain(x + threat.eps * (0.5 - x).sign(), x)


class _Nothing(_Plain):
    """Takes its gradients, and returns the image that it was given."""

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Any, rng: Any) -> Any:
        super().search(model, x, y, start, threat, rng)
        return x.clone()


class _Frozen(_Plain):
    """Walks in tanh space from the clean image, where pixels at 0 and 1 have no slope."""

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Any, rng: Any) -> Any:
        space = torch.atanh((2 * x - 1).double())
        for _ in range(self.steps):
            x_adv = ((space.tanh() + 1) / 2).to(x.dtype)
            _, _, slope = self.look(model, x_adv, y, threat.target)
            inner = (1 - space.tanh() ** 2) * slope  # exactly zero where tanh is 1 or -1
            space = torch.where(inner == 0, space, space + 0.2 * inner.sign())
            ball = threat.constrain(((space.tanh() + 1) / 2).to(x.dtype), x)
            space = torch.where(inner == 0, space, torch.atanh((2 * ball - 1).double()))
        return ((space.tanh() + 1) / 2).to(x.dtype)


class _TrueLabel(_Plain):
    """Aims at the true label: a target taken from the wrong array."""

    keep_best: bool = False
    """return the iterate with the largest margin instead of the last"""

    def objective(self, logits: Tensor, y: Tensor, target: Tensor | None) -> Tensor:
        return LOSSES["margin"](logits, y, y)


class _Descends(_Plain):
    """Goes down where it should go up."""

    keep_best: bool = False
    """return the iterate with the largest margin instead of the last"""

    def objective(self, logits: Tensor, y: Tensor, target: Tensor | None) -> Tensor:
        return -LOSSES["margin"](logits, y, target)


class _Short(_Plain):
    """Three steps of a hundredth of eps."""

    steps: int = 3
    """gradient steps"""
    step_size: float = 0.01
    """length of a step as a share of eps"""


class _Unfinished(_Plain):
    """Stops when it has come a third of the way; its step is named so that no rule knows it."""

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Any, rng: Any) -> Any:
        third = threat.eps / 3 / self.steps
        return self.gradient_search(model, x, y, start, threat, steps=self.steps, step_size=third)


class _RootOfZero(_Plain):
    """A loss with a penalty whose root is taken where the penalty is 0."""

    def objective(self, logits: Tensor, y: Tensor, target: Tensor | None) -> Tensor:
        nothing = 0.0 * logits.sum(dim=1)
        return LOSSES["margin"](logits, y, target) + nothing.sqrt()  # infinite slope times 0


class _JustAcross(_Plain):
    """Draws what it found in to the boundary, where rounding undoes it."""

    def search(self, model: Any, x: Any, y: Any, start: Any, threat: Any, rng: Any) -> Any:
        x_adv, claimed = super().search(model, x, y, start, threat, rng)
        return self.shorten(model, x, y, x_adv, claimed, threat.target, rounds=20), claimed


# Fault -> the attack, which detector should name it, and at which level.
PLANTED_ATTACKS: dict[str, tuple[Callable[..., Attack], str, str]] = {
    "leaves the box": (_OutOfTheBox, "violations", "red"),
    "leaves the budget": (_OverBudget, "violations", "red"),
    "not a number": (_NotANumber, "violations", "red"),
    "claims too much": (_Liar, "violations", "red"),
    "no backward pass": (_NoBackward, "idle", "red"),
    "returns the clean image": (_Nothing, "idle", "red"),
    "frozen pixels": (_Frozen, "idle", "red"),
    "aims at the true label": (_TrueLabel, "astray", "red"),
    "descends": (_Descends, "astray", "red"),
    "short steps": (_Short, "schedule", "red"),
    "unfinished": (_Unfinished, "convergence", "amber"),
    "root of zero": (_RootOfZero, "vanishing", "red"),
    "just across the boundary": (_JustAcross, "rounding", "red"),
}


def planted_attack(fault: str, **params: Any) -> Attack:
    """An attack with one of the faults of `PLANTED_ATTACKS`.

    Args:
        params: those that every attack has: ``eps``, ``norm``, ``target`` and so on.

    Raises:
        BadRequest: no such fault.
    """
    if fault not in PLANTED_ATTACKS:
        raise BadRequest(f"unknown fault {fault!r}{choices(fault, PLANTED_ATTACKS)}")
    return PLANTED_ATTACKS[fault][0](**params)
