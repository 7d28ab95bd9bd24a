"""Claims about a kind of network, as "blur pooling": its unit is a training, not an image.

Twins are trained from several seeds and compared seed by seed on the same images. How much one
training differs from the next is what an interval over images of one network's weights cannot
tell; so these numbers and those of a run never stand in one table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.errors import BadRequest
from robustlab.results import Results
from robustlab.statistics import Difference, Rate, mean_t, paired_t
from robustlab.training.twins import ENOUGH

__all__ = ["ENOUGH", "Key", "Kinds"]

ABOUT = "twins.json"


@dataclass(frozen=True, order=True)
class Key:
    """One number of a run's summary: of which probe, at which eps, what."""

    probe: str
    params: str
    eps: str
    metric: str

    def __str__(self) -> str:
        probe = f"{self.probe} ({self.params})" if self.params else self.probe
        return f"{probe}: {self.metric}" + (f" at eps {self.eps}" if self.eps else "")


class Kinds:
    """A folder of twins: every seed's run read, in order.

    Attributes:
        about: what `twins.json` says.
        twins: their names, the reference first.
        runs: seed -> its run; a seed whose run is not complete is in ``missing`` instead.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        try:
            self.about: Mapping[str, Any] = json.loads((self.folder / ABOUT).read_text("utf-8"))
        except (OSError, ValueError):
            raise BadRequest(
                f"{self.folder} holds no twins (no {ABOUT}); make some with 'robustlab twins'"
            ) from None
        self.twins = [str(one) for one in self.about["twins"]]
        self.runs: dict[int, Results] = {}
        self.missing: list[int] = []
        for seed in self.about["seeds"]:
            folder = self.folder / f"seed{seed}"
            run = Results(folder) if (folder / "run.json").is_file() else None
            if run is not None and run.complete and not any(g.failures for g in run.groups()):
                self.runs[int(seed)] = run
            else:
                self.missing.append(int(seed))

    @property
    def enough(self) -> bool:
        """Whether there are seeds enough for a claim about the kind."""
        return len(self.runs) >= ENOUGH

    @property
    def reference(self) -> str:
        return self.twins[0]

    @cached_property
    def values(self) -> dict[Key, dict[str, NDArray[np.float64]]]:
        """Key -> twin -> value [seeds], of every number that each twin has at each seed."""
        found: dict[Key, dict[str, list[float]]] = {}
        for run in self.runs.values():
            row: Any  # a named tuple that pandas makes
            for row in run.summary().itertuples(index=False):
                if row.metric == "clean_accuracy" and row.probe != "clean":
                    continue  # every attack counts it again
                key = Key(row.probe, row.params, row.eps, row.metric)
                found.setdefault(key, {}).setdefault(row.backbone, []).append(float(row.value))
        full = len(self.runs)
        return {
            key: {twin: np.array(by_twin[twin]) for twin in self.twins}
            for key, by_twin in found.items()
            if all(len(by_twin.get(twin, ())) == full for twin in self.twins)
        }

    def mean(self, key: Key, twin: str) -> Rate:
        """Over the seeds, with Student's t interval; ``n`` is seeds."""
        return mean_t(self.values[key][twin])

    def difference(self, key: Key, twin: str, other: str | None = None) -> Difference:
        """``twin`` minus ``other`` (the reference), paired by seed."""
        values = self.values[key]
        return paired_t(values[twin], values[other or self.reference])
