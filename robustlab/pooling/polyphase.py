"""Adaptive polyphase sampling (Chaman and Dokmanic 2021): the grid moves with the content.

A map divides into stride x stride components, one for each place at which the sampling grid can
begin. The strided network always keeps the first; this keeps the one of largest norm, so that a
shifted map gives the same component, shifted. Exact where the map is circular, its size divides by
the stride, and one component is larger than all others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from robustlab.errors import BadRequest, choices
from robustlab.pooling.blur import blurred
from robustlab.pooling.geometry import Pair
from robustlab.pooling.strided import Sampler

__all__ = ["NORMS", "Choice", "Polyphase", "chosen", "components", "shared"]

NORMS = {"l1": 1.0, "l2": 2.0, "linf": math.inf}


class Choice:
    """The component that one site chose, for the sites beside it in the same block.

    Branches that are added must be sampled at the same places, or their maps do not match. The
    first site of a group leaves its choice, as many others take it, and then it is gone: between
    forward passes, and in copies, there is none.

    Args:
        followers: how many sites take the choice of the first.
    """

    def __init__(self, followers: int = 1) -> None:
        self.followers = followers
        self._left: list[Tensor] = []

    def leave(self, index: Tensor) -> None:
        self._left = [index] * self.followers

    def take(self) -> Tensor:
        if not self._left:
            raise RuntimeError("a site that shares another's polyphase component ran before it")
        return self._left.pop()

    def __reduce__(self) -> tuple[Any, ...]:
        return Choice, (self.followers,)


def components(x: Tensor, stride: Pair) -> Tensor:
    """[n, rows * columns of the stride, C, H / rows, W / columns] of [n, C, H, W], row by row.

    Raises:
        BadRequest: the map does not divide by the stride.
    """
    n, maps, height, width = x.shape
    if height % stride[0] or width % stride[1]:
        raise BadRequest(
            f"a map of {height}x{width} does not divide by the stride "
            f"{stride[0]}x{stride[1]}; polyphase components would differ in size"
        )
    high, wide = height // stride[0], width // stride[1]
    apart = x.reshape(n, maps, high, stride[0], wide, stride[1]).permute(0, 3, 5, 1, 2, 4)
    return apart.reshape(n, stride[0] * stride[1], maps, high, wide)


def chosen(parts: Tensor, index: Tensor) -> Tensor:
    """[n, C, h, w]: of each image the component of its ``index`` [n]."""
    return parts[torch.arange(len(parts), device=parts.device), index]


@dataclass(frozen=True)
class Polyphase(Sampler):
    """Keeps the polyphase component of largest norm, image by image.

    Ties go to the first in row-major order, and then the output depends on the shift: of equal
    norms none is "the same" after a shift. The norm is summed in float64, so that rounding decides
    as rarely as it can.

    Args:
        norm: ``"l1"``, ``"l2"`` or ``"linf"``.
        taps: of a binomial filter before the choice, 2 to 7; 1: none.
        leads, follows: the choice that this site leaves for others, or takes from one.

    Raises:
        BadRequest: an unknown norm; on a map that does not divide by the stride.
    """

    name: ClassVar[str] = "polyphase"
    exact: ClassVar[bool] = True
    norm: str = "l2"
    taps: int = 1
    leads: Choice | None = field(default=None, compare=False, repr=False)
    follows: Choice | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise BadRequest(f"unknown norm {self.norm!r} of polyphase{choices(self.norm, NORMS)}")
        if not 1 <= self.taps <= 7:
            raise BadRequest(f"a blur has 2 to 7 taps, not {self.taps}; write blur3+polyphase")

    def __call__(self, x: Tensor, stride: Pair, padding: str) -> Tensor:
        for axis in (-2, -1) if self.taps > 1 else ():
            x = blurred(x, self.taps, padding, axis)
        parts = components(x, stride)
        index = self.index(parts) if self.follows is None else self.follows.take()
        if self.leads is not None:
            self.leads.leave(index)
        return chosen(parts, index)

    def index(self, parts: Tensor) -> Tensor:
        """[n]: which of the components [n, k, C, h, w] is largest."""
        norms: Tensor = torch.linalg.vector_norm(
            parts.flatten(2), NORMS[self.norm], dim=2, dtype=torch.float64
        )
        return norms.argmax(1)


def shared(sites: Sequence[Any]) -> None:
    """Of layers with a polyphase ``sampler``, in the order in which they run: the first chooses the
    component for all.
    """
    polyphase = [one for one in sites if hasattr(one.sampler, "follows")]
    if len(polyphase) < 2:
        return
    choice = Choice(len(polyphase) - 1)
    for position, one in enumerate(polyphase):
        leads, follows = (choice, None) if position == 0 else (None, choice)
        if isinstance(one.sampler, Polyphase):
            one.sampler = replace(one.sampler, leads=leads, follows=follows)
        else:
            one.sampler.leads, one.sampler.follows = leads, follows
