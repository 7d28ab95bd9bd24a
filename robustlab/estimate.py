"""What a plan will cost, before it runs: passes an image at most, times one measured pass."""

from __future__ import annotations

from dataclasses import dataclass

from robustlab.machine import fastest_threads, seconds_a_pass, with_threads
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
    with with_threads(fastest_threads(plan.backbones)):
        seconds = {
            (b.name, size): seconds_a_pass(b, size) for b in plan.backbones for size in (1, _BATCH)
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
            pace = sum(seconds_a_pass(network) for network in lent.networks.values())
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
