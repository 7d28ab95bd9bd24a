"""One cell computed: under fixed conditions, on the images it was given, checked on the way out."""

from __future__ import annotations

import contextlib
import copy
import datetime
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robustlab.adversarial.images import exact_kernels
from robustlab.errors import CellFailed, RobustlabError
from robustlab.outcome import Outcome
from robustlab.plan import Cell
from robustlab.record import Record
from robustlab.seeding import seeded
from robustlab.shelf import HOME

__all__ = ["Resolved", "compute", "steady"]


@dataclass(frozen=True)
class Resolved:
    """What the lab chose for a run and every process of it reuses: `resolved.json`.

    Searches run on a frozen copy (folded, channels-last) in ``precision``; see `machine.Choice`.
    """

    device: str
    threads: int
    batch: int
    precision: str = "float32"
    why: str = ""


@contextlib.contextmanager
def steady(threads: int) -> Iterator[None]:
    """Fixed threads and deterministic kernels while cells are computed; put back afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with exact_kernels():
            yield
    finally:
        torch.set_num_threads(before)


def compute(cell: Cell, resolved: Resolved) -> tuple[Record, Outcome | None]:
    """Run the cell's probe; a failure is a record with status ``"failed"`` and no outcome.

    An interrupt (Ctrl-C) is not a failure and passes through.
    """
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    record = Record(
        id=cell.id,
        asked=asdict(cell.asked),
        n=len(cell.data),
        started=started,
        device=resolved.device,
        threads=resolved.threads,
        torch=torch.__version__,
    )
    clock = time.perf_counter()
    try:
        outcome, notes = _run(cell, resolved)
        outcome = _told_apart(outcome, cell).checked(len(cell.data))
    except (Exception, SystemExit) as error:  # whatever a probe raises: its cell fails, no other
        record.status, record.error = "failed", _told(error)
        record.seconds = time.perf_counter() - clock
        return record, None
    record.seconds = time.perf_counter() - clock
    record.metrics, record.cost = outcome.metrics, outcome.cost
    record.notes, record.findings = (*outcome.notes, *notes), tuple(outcome.findings)
    record.pictures = tuple((p.name, p.caption) for p in outcome.pictures)
    return record, outcome


def _told(error: BaseException) -> str:
    """The lab's own errors speak for themselves; of others the class and the place are told."""
    if isinstance(error, RobustlabError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    outside = [f for f in frames if not Path(f.filename).is_relative_to(HOME)]
    user = [f for f in outside if "site-packages" not in Path(f.filename).parts]
    where = f" ({Path(user[-1].filename).name}, line {user[-1].lineno})" if user else ""
    return f"{type(error).__name__}: {error}{where}"


def _run(cell: Cell, resolved: Resolved) -> tuple[Outcome, list[str]]:
    """The probe's outcome; a batch that does not fit the device is halved, and that is noted."""
    notes: list[str] = []
    batch = resolved.batch
    while True:
        try:
            return _call(cell, batch, resolved.precision), notes
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
            batch //= 2
            notes = [f"Out of memory: the batch was halved to {batch}; last bits may differ."]
        torch.cuda.empty_cache()  # out here, where no traceback holds the tensors any more


def _call(cell: Cell, batch: int, precision: str) -> Outcome:
    registered, params = cell.bound.registered, cell.bound.params
    if registered.kind == "attack":
        attack = registered.obj(**params)
        settings = {"seed": cell.asked.seed, "batch": batch, "precision": precision}
        found = attack(cell.backbone, cell.data, borrowed=cell.borrowed, **settings)
        outcome: Any = found.outcome()
    elif registered.kind == "clean":
        outcome = registered.obj(cell.backbone, cell.data, **params)
    else:
        # A user's probe may draw from the global generators, and may change the network it is
        # given: it gets its cell's own seed and a copy.
        with seeded(int(cell.id[:8], 16)):
            outcome = registered.obj(copy.deepcopy(cell.backbone), cell.data, **params)
    if not isinstance(outcome, Outcome):
        raise CellFailed(
            f"{registered.name} returned {type(outcome).__name__}; a probe returns an Outcome"
        )
    return outcome


def _told_apart(outcome: Outcome, cell: Cell) -> Outcome:
    """Every outcome carries ids and labels, so that its rows can be found again."""
    known = {"id": np.array(cell.data.ids), "label": np.asarray(cell.data.labels)}
    for name, column in known.items():
        if not np.array_equal(outcome.samples.get(name, column), column):
            raise CellFailed(f"column {name!r} is the lab's own; give yours another name")
    metrics = outcome.metrics
    if not metrics:
        own = {k: v for k, v in outcome.samples.items() if k not in known}
        metrics = Outcome(own).checked(len(cell.data)).metrics
    samples = {**known, **outcome.samples}
    return replace(outcome, samples=samples, metrics=metrics)
