"""What a plan will cost, before it runs: passes an image at most, times one measured pass; and how
many threads are worth having, by the same measure.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from robustlab.adversarial.fastpath import search_copy
from robustlab.adversarial.images import working_dtype
from robustlab.backbones import Backbone
from robustlab.plan import Cell, Plan

__all__ = ["Cost", "estimate", "fastest_threads"]

_BATCH = 64
_WORTH = 1.2  # how much faster many threads must be to be taken


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
    with _threads(fastest_threads(plan.backbones)):
        seconds = {
            (b.name, size): _seconds_a_pass(b, size) for b in plan.backbones for size in (1, _BATCH)
        }
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in plan.cells:
        groups.setdefault((cell.backbone.name, cell.bound.label), []).append(cell)
    costs = []
    for (name, label), cells in groups.items():
        images, passes = sum(c.stop - c.start for c in cells), _passes(cells[0])
        lent = cells[0].borrowed
        pace = seconds[name, _batch(cells[0])]
        if lent.networks:
            pace = sum(_seconds_a_pass(network) for network in lent.networks.values())
        learned_from = sum(len(data) for data in lent.data.values())
        total = max(images, learned_from) * passes * pace
        costs.append(Cost(name, label, len(cells), images, passes, total))
    return costs


def _passes(cell: Cell) -> int:
    registered, params = cell.bound.registered, cell.bound.params
    if registered.kind != "attack":
        return 1
    verification = 3  # the clean image once, each candidate as floats and as pixels
    total = 0
    for _, stage in registered.obj(**params).stages():
        budgets = 1 if stage.minimum_norm else len(stage.eps)
        total += budgets * stage.restarts * (stage.passes() * stage.eot + verification)
    return int(total)


def _batch(cell: Cell) -> int:
    """Attacks of another library work image by image, and pay for it."""
    whole = cell.bound.registered.library == "" or cell.bound.params.get("batched", False)
    return _BATCH if whole else 1


def fastest_threads(backbones: Sequence[Backbone]) -> int:
    """One thread, or all that torch would take where they are clearly faster.

    Small networks gain nothing from a second thread, and on a machine that is busy with other work
    threads that wait for each other lose a great deal.
    """
    most = torch.get_num_threads()
    if most == 1 or backbones[0].device.type != "cpu":
        return most
    spent = {}
    for count in (1, most):
        with _threads(count):
            spent[count] = sum(_seconds_a_pass(backbone) for backbone in backbones)
    return most if spent[most] * _WORTH < spent[1] else 1


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _seconds_a_pass(backbone: Backbone, batch: int = _BATCH) -> float:
    """Mean of a forward and a backward pass of an image, on a batch of noise; the best of three."""
    network, dtype = search_copy(backbone.network, backbone.input_shape)
    dtype = dtype or working_dtype(backbone)
    x = torch.rand(batch, *backbone.input_shape, dtype=dtype, device=backbone.device)
    x.requires_grad_(True)
    times = []
    for _ in range(4):  # the first call pays for set-up
        _wait(backbone.device)
        start = time.perf_counter()
        torch.autograd.grad(network(x).sum(), x)
        _wait(backbone.device)
        times.append(time.perf_counter() - start)
    return min(times[1:]) / (2 * batch)


def _wait(device: torch.device) -> None:
    """A GPU works on after the call returns; the clock must not."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
