"""A run read back from its directory, without torch: tidy tables for people, pages and gates.

`Results.summary()` and `Results.samples()` are built from landed cells only, in the order of
the plan, so their numbers do not depend on which process computed what, or when.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robustlab import statistics
from robustlab.errors import CellFailed
from robustlab.outcome import PICTURE_ARRAYS, Metric, Outcome, merge_findings
from robustlab.record import Record
from robustlab.statistics import Rate
from robustlab.store import Store

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SAMPLE_COLUMNS", "SUMMARY_COLUMNS", "Group", "Results"]

SUMMARY_COLUMNS = ["backbone", "probe", "params", "eps", "metric", "value", "low", "high", "n"]
SAMPLE_COLUMNS = ["id", "label", "backbone", "probe", "params", "eps"]
_AT_EPS = re.compile(r"^(?P<name>[^\[]+)\[eps=(?P<eps>[^\]]+)\]$")


def split_eps(name: str) -> tuple[str, str]:
    """``"verified[eps=0.1]"`` -> ``("verified", "0.1")``; no eps gives an empty text."""
    found = _AT_EPS.match(name)
    return (found["name"], found["eps"]) if found else (name, "")


@dataclass(frozen=True)
class Group:
    """All shards of one probe (with one set of parameters) on one backbone.

    ``plan`` is the plan's entry of the first shard; ``missing`` holds the ids of cells that have
    not landed, in which case ``outcome`` is None: a part of the images is not a result.
    """

    backbone: str
    label: str
    plan: Mapping[str, Any]
    cells: tuple[str, ...]
    missing: tuple[str, ...]
    failures: tuple[Record, ...]
    records: tuple[Record, ...]
    outcome: Outcome | None

    @property
    def seconds(self) -> float:
        """Wall time in sum over the shards."""
        return sum(record.seconds for record in self.records)

    def rate(self, metric: str) -> Rate:
        """One number of the summary by its full name, ``robust_accuracy[eps=0.1]``."""
        if self.outcome is None:
            return Rate(float("nan"), float("nan"), float("nan"), 0)
        return measure(self.outcome, self.outcome.metrics[metric])


def measure(outcome: Outcome, metric: Metric) -> Rate:
    """A bool column becomes a Wilson rate, any other a mean with a bootstrap over images.

    Of shares that are all 0 or all 1 the interval is Wilson's too: see `statistics.mean_share`.
    """
    column: NDArray[Any] = np.asarray(outcome.samples[metric.column])
    if metric.among is not None:
        column = column[np.asarray(outcome.samples[metric.among], dtype=bool)]
    if column.dtype.kind == "b":
        return statistics.rate(~column if metric.negate else column)
    return statistics.mean_share(column) if metric.share else statistics.bootstrap_mean(column)


class Results:
    """The tables of a run directory."""

    def __init__(self, folder: Path | str) -> None:
        self.store = Store.open(folder)
        self.folder = self.store.folder
        self.about = self.store.read_json("run.json")

    def __repr__(self) -> str:
        plan = self.about["plan"]
        landed = sum(self.store.record(entry["cell"]) is not None for entry in plan)
        return f"{type(self).__name__}({str(self.folder)!r}: {landed} of {len(plan)} cells landed)"

    @property
    def complete(self) -> bool:
        """Whether every cell of the plan has landed."""
        return all(self.store.record(p["cell"]) is not None for p in self.about["plan"])

    def groups(self) -> list[Group]:
        """Shards put together again, in the order of the plan."""
        by_key: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for entry in self.about["plan"]:
            by_key.setdefault((entry["backbone"], entry["label"]), []).append(entry)
        return [self._group(entries) for entries in by_key.values()]

    def _group(self, entries: Sequence[Mapping[str, Any]]) -> Group:
        cells = tuple(entry["cell"] for entry in entries)
        records = {cell: self.store.record(cell) for cell in cells}
        missing = tuple(cell for cell, record in records.items() if record is None)
        failures = [self.store.failure(cell) for cell in missing]
        outcome = None
        if not missing:
            try:
                outcome = _join([self.store.outcome(cell) for cell in cells])
            except CellFailed as error:
                failures = [Record(cells[0], {}, 0, status="failed", error=str(error))]
        return Group(
            backbone=entries[0]["backbone"],
            label=entries[0]["label"],
            plan=entries[0],
            cells=cells,
            missing=missing,
            failures=tuple(f for f in failures if f is not None),
            records=tuple(r for r in records.values() if r is not None),
            outcome=outcome,
        )

    def summary(self) -> pd.DataFrame:
        """Tidy numbers, one row a metric: the columns of `SUMMARY_COLUMNS`."""
        import pandas as pd

        return pd.DataFrame(list(self._summary_rows()), columns=SUMMARY_COLUMNS)

    def _summary_rows(self) -> Iterator[list[Any]]:
        for group in self.groups():
            if group.outcome is None:
                continue
            for name, metric in group.outcome.metrics.items():
                found = measure(group.outcome, metric)
                short, eps = split_eps(name)
                head = [group.backbone, group.plan["probe"], group.plan["label_params"], eps, short]
                yield [*head, found.value, found.low, found.high, found.n]

    def samples(self) -> pd.DataFrame:
        """One row per image, probe and eps: `SAMPLE_COLUMNS`, then the probe's own columns."""
        import pandas as pd

        frames = [_melt(group) for group in self.groups() if group.outcome is not None]
        if not frames:
            return pd.DataFrame(columns=SAMPLE_COLUMNS)
        return pd.concat(frames, ignore_index=True)


def _join(parts: Sequence[Outcome]) -> Outcome:
    """Shards of one probe as one outcome: columns and per-image arrays end to end.

    Raises:
        CellFailed: the probe gave other columns for other images, so that no table holds them.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    for part in parts:
        odd = set(part.samples) ^ set(first.samples)
        if odd:
            raise CellFailed(
                f"the shards of this probe have different columns ({', '.join(sorted(odd))}); "
                "return the same columns for any images"
            )
    return Outcome(
        samples={k: np.concatenate([p.samples[k] for p in parts]) for k in first.samples},
        arrays=_join_arrays(parts),
        pictures=[picture for part in parts for picture in part.pictures],
        metrics={k: v for part in parts for k, v in part.metrics.items()},
        notes=list(dict.fromkeys(note for part in parts for note in part.notes)),
        cost={
            key: sum(part.cost.get(key, 0.0) for part in parts)
            for key in dict.fromkeys(key for part in parts for key in part.cost)
        },
        findings=merge_findings([finding for part in parts for finding in part.findings]),
    )


def _join_arrays(parts: Sequence[Outcome]) -> dict[str, NDArray[Any]]:
    """Arrays with a row an image, or a picture, end to end; any other is kept shard by shard."""
    sizes = [len(next(iter(part.samples.values()))) for part in parts]
    offsets = np.cumsum([0, *sizes[:-1]])
    joined: dict[str, NDArray[Any]] = {}
    for name in dict.fromkeys(name for part in parts for name in part.arrays):
        found: list[Any] = [part.arrays.get(name) for part in parts]
        rows = [len(a) if a is not None and a.ndim else None for a in found]
        if name == "picture_row":  # rows point into the columns, which have moved
            joined[name] = np.concatenate([a + o for a, o in zip(found, offsets, strict=True)])
        elif name.startswith("loss") and all(a is None or a.ndim == 2 for a in found):
            joined[name] = _end_to_end([a for a in found if a is not None])
        elif name in PICTURE_ARRAYS or rows == sizes:
            joined[name] = np.concatenate(found)
        else:
            joined |= {f"{name}[shard={i}]": a for i, a in enumerate(found) if a is not None}
    return joined


def _end_to_end(curves: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Rows of different lengths under each other, filled up with NaN."""
    wide = max(curve.shape[1] for curve in curves)
    fill = [((0, 0), (0, wide - curve.shape[1])) for curve in curves]
    return np.concatenate(
        [np.pad(c, f, constant_values=np.nan) for c, f in zip(curves, fill, strict=True)]
    )


def _melt(group: Group) -> pd.DataFrame:
    import pandas as pd

    assert group.outcome is not None
    plain: dict[str, Any] = {}
    at_eps: dict[str, dict[str, Any]] = {}
    for name, column in group.outcome.samples.items():
        short, eps = split_eps(name)
        (at_eps.setdefault(eps, {}) if eps else plain)[short] = column
    head = {
        "backbone": group.backbone,
        "probe": group.plan["probe"],
        "params": group.plan["label_params"],
    }
    parts = [
        pd.DataFrame({**plain, **head, "eps": eps, **columns})
        for eps, columns in (at_eps or {"": {}}).items()
    ]
    frame = pd.concat(parts, ignore_index=True)
    first = [name for name in SAMPLE_COLUMNS if name in frame]
    return frame[first + [name for name in frame if name not in first]]
