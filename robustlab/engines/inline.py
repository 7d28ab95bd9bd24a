"""Cells one after the other in this process; other processes may share the run directory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from robustlab.plan import Cell
from robustlab.store import Store
from robustlab.work import Resolved, compute, steady

__all__ = ["Tell", "work_through"]

# Called with the cell and what became of it: at first "waiting" for each cell that has not landed,
# then "computing", "landed", "failed" or "elsewhere" (another process computes it).
Tell = Callable[[Cell, str], None]
_POLL_SECONDS = 0.2


def work_through(
    cells: Sequence[Cell], store: Store, resolved: Resolved, tell: Tell
) -> tuple[int, int]:
    """Land every cell that has not landed; returns how many were computed and how many failed.

    A cell that another process holds is left to it and looked at again at the end: either it has
    landed by then, or its process has died and the cell is computed here.
    """
    computed = failed = 0
    waiting = [cell for cell in cells if store.record(cell.id) is None]
    for cell in waiting:
        tell(cell, "waiting")
    with steady(resolved.threads):
        while waiting:
            held = []
            for cell in waiting:
                if store.record(cell.id) is not None:
                    continue
                with store.lock(cell.id) as mine:
                    if not mine:
                        held.append(cell)
                    elif store.record(cell.id) is None:
                        computed += 1
                        failed += not _land(cell, store, resolved, tell)
            if held and len(held) == len(waiting):
                tell(held[0], "elsewhere")
                time.sleep(_POLL_SECONDS)
            waiting = held
    return computed, failed


def _land(cell: Cell, store: Store, resolved: Resolved, tell: Tell) -> bool:
    tell(cell, "computing")
    record, outcome = compute(cell, resolved)
    if outcome is None:
        store.fail(record)
    else:
        store.land(record, outcome)
    tell(cell, record.status if outcome is None else "landed")
    return outcome is not None
