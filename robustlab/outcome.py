"""What a probe found: per-image columns, arrays, pictures. Numpy only: pages need no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.errors import CellFailed, choices

__all__ = ["Metric", "Outcome", "Picture"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Picture:
    """One picture a probe hands over: uint8 pixels [height, width] or [height, width, 3]."""

    name: str
    pixels: Array
    caption: str = ""


@dataclass(frozen=True)
class Metric:
    """How a number of the summary comes from a column.

    ``among`` names a bool column that selects the images counted (the denominator); ``negate``
    counts the images where the column is false. Bool columns give rates, float columns means.
    """

    column: str
    among: str | None = None
    negate: bool = False


@dataclass
class Outcome:
    """Per-image results of one probe on n images.

    Attributes:
        samples: column name -> array of shape [n]; bool, integer, float or text. A column that
            belongs to one eps carries it in its name: ``verified[eps=0.1]``.
        arrays: anything else worth keeping, any shape.
        pictures: pictures for the report.
        metrics: summary numbers; left empty, every bool column becomes a rate and every float
            column a mean.
        notes: sentences that the report prints beside the numbers.
        cost: what it took, as ``{"forward": passes per image in sum, "backward": ...}``.
    """

    samples: Mapping[str, Any]
    arrays: Mapping[str, Any] = field(default_factory=dict)
    pictures: Sequence[Picture] = ()
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    notes: Sequence[str] = ()
    cost: Mapping[str, float] = field(default_factory=dict)

    def checked(self, n: int) -> Outcome:
        """The same outcome with numpy columns, after checking every shape and every metric.

        Raises:
            CellFailed: a column that is not [n], holds objects, or a metric of an unknown column.
        """
        samples = {name: np.asarray(column) for name, column in self.samples.items()}
        for name, column in samples.items():
            if column.shape != (n,):
                raise CellFailed(
                    f"column {name!r} has shape {list(column.shape)}; one value an image is [{n}]"
                )
            if column.dtype.kind not in "biufU":
                raise CellFailed(
                    f"column {name!r} holds {column.dtype}; use bool, integer, float or text"
                )
        for name, metric in self.metrics.items():
            for column_name in filter(None, (metric.column, metric.among)):
                if column_name not in samples:
                    raise CellFailed(
                        f"metric {name!r} needs a column {column_name!r}"
                        f"{choices(column_name, samples)}"
                    )
        arrays = {name: np.asarray(value) for name, value in self.arrays.items()}
        metrics = dict(self.metrics) or _default_metrics(samples)
        return Outcome(
            samples, arrays, tuple(self.pictures), metrics, tuple(self.notes), dict(self.cost)
        )


def _default_metrics(samples: Mapping[str, Array]) -> dict[str, Metric]:
    return {name: Metric(name) for name, column in samples.items() if column.dtype.kind in "bf"}
