"""What a plan will cost, before it runs: passes an image at most, times one measured pass."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from robustlab.adversarial.fastpath import search_copy
from robustlab.adversarial.images import working_dtype
from robustlab.backbones import Backbone
from robustlab.plan import Cell, Plan

__all__ = ["Cost", "estimate"]

_BATCH = 64


@dataclass(frozen=True)
class Cost:
    """Upper estimate of one probe on one backbone; fooled images leave early and cost less."""

    backbone: str
    probe: str
    cells: int
    images: int
    passes: int
    seconds: float


def estimate(plan: Plan) -> list[Cost]:
    """One `Cost` for each probe on each backbone, in the order of the plan."""
    seconds = {b.name: _seconds_a_pass(b) for b in plan.backbones}
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in plan.cells:
        groups.setdefault((cell.backbone.name, cell.bound.label), []).append(cell)
    costs = []
    for (name, label), cells in groups.items():
        images, passes = sum(c.stop - c.start for c in cells), _passes(cells[0])
        total = images * passes * seconds[name]
        costs.append(Cost(name, label, len(cells), images, passes, total))
    return costs


def _passes(cell: Cell) -> int:
    registered, params = cell.bound.registered, cell.bound.params
    if registered.kind != "attack":
        return 1
    attack = registered.obj(**params)
    budgets = 1 if attack.minimum_norm else len(attack.eps)
    verification = 3  # the clean image once, each candidate as floats and as pixels
    return int(budgets * attack.restarts * (attack.passes() + verification))


def _seconds_a_pass(backbone: Backbone) -> float:
    """Mean of a forward and a backward pass of an image, measured on a small batch of noise."""
    network, dtype = search_copy(backbone.network, backbone.input_shape)
    dtype = dtype or working_dtype(backbone)
    x = torch.rand(_BATCH, *backbone.input_shape, dtype=dtype, device=backbone.device)
    x.requires_grad_(True)
    torch.autograd.grad(network(x).sum(), x)  # the first call pays for set-up
    _wait(backbone.device)
    start = time.perf_counter()
    torch.autograd.grad(network(x).sum(), x)
    _wait(backbone.device)
    return (time.perf_counter() - start) / (2 * _BATCH)


def _wait(device: torch.device) -> None:
    """A GPU works on after the call returns; the clock must not."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
