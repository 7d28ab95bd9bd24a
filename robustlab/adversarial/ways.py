"""On which network each stage of an attack searches: the fast copy, a quicker one before it, the
attack's own surrogate, or other networks altogether.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import nn

from robustlab.adversarial.borrowed import Borrowed, lent
from robustlab.adversarial.fastpath import Way, half_copy, search_copy
from robustlab.adversarial.found import Found
from robustlab.backbones import Backbone
from robustlab.backbones.backbone import Normalised

__all__ = ["Stage", "told", "ways_of"]


class Stage(Protocol):
    """What is asked of a stage here."""

    @property
    def knowledge(self) -> str: ...
    @property
    def minimum_norm(self) -> bool: ...
    @property
    def learns(self) -> bool: ...
    @property
    def adapts(self) -> bool: ...
    def surrogate(self, module: nn.Module) -> nn.Module: ...
    def searches_on(self) -> Sequence[str]: ...


def ways_of(
    stages: Sequence[tuple[str, Stage]],
    backbone: Backbone,
    borrowed: Borrowed,
    *,
    fast: bool,
    precision: str,
) -> list[list[Way]]:
    """For each stage the networks that it searches on, one after the other.

    bfloat16 comes first where it is asked for, and not before searches that need the last bits:
    those for the smallest perturbation, those without gradients, and those that have learned.
    """
    network, dtype = search_copy(backbone.network, backbone.input_shape, fast=fast)
    half = half_copy(network, backbone.input_shape) if precision == "bfloat16" else None
    usual, found = Way(network, dtype), []
    for _, stage in stages:
        if stage.searches_on():
            elsewhere = lent(stage.searches_on(), borrowed.to(backbone.device), fast=fast)
            found.append([Way(elsewhere)])
        elif stage.adapts:
            found.append([_own(stage, backbone, dtype)])
        elif half is None or stage.knowledge != "gradient" or stage.minimum_norm or stage.learns:
            found.append([usual])
        else:
            found.append([Way(half, torch.bfloat16, first=True), usual])
    return found


def _own(stage: Stage, backbone: Backbone, dtype: torch.dtype | None) -> Way:
    """The stage's own surrogate. It exchanges layers by their names, which folding takes away."""
    plain, _ = search_copy(backbone.network, backbone.input_shape, fast=False)
    if not isinstance(plain, Normalised):
        return Way(stage.surrogate(plain).eval(), dtype)
    own = Normalised(stage.surrogate(plain.module), plain.mean, plain.std).eval()
    return Way(own, dtype)


def told(found: Found) -> list[str]:
    """What the search in bfloat16 found and the float32 search after it, where there were two."""
    if found.quick is None:
        return []
    fooled = (found.verified & found.clean_correct).sum(axis=1)
    quick = (found.quick & found.clean_correct).sum(axis=1)
    counts = [
        f"{int(few)} of {int(many)} at eps {eps}"
        for eps, few, many in zip(found.eps, quick, fooled, strict=True)
    ]
    return [
        f"Searched in bfloat16 first, which broke {', '.join(counts)}; the others fell in float32, "
        "in which all that stood were searched again from the same starts: alone it breaks no more."
    ]
