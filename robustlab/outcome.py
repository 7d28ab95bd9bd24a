"""What a probe found: per-image columns, arrays, pictures. Numpy only: pages need no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from robustlab.errors import CellFailed, choices

__all__ = ["RESERVED", "Finding", "Level", "Metric", "Outcome", "Picture", "merge_findings"]

RESERVED = ("backbone", "probe", "params", "eps")  # columns that the lab puts beside a probe's own

Array = NDArray[Any]

# Arrays an attack hands over with a row for each picture of the gallery.
PICTURE_ARRAYS = (
    "adversarial",
    "clean",
    "picture_confidence",
    "picture_eps",
    "picture_pose",
    "picture_prediction",
    "picture_row",
)


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
    ``share`` says that the values are shares in [0, 1], so that a mean of 0 or 1 has an interval.
    """

    column: str
    among: str | None = None
    negate: bool = False
    share: bool = False


Level = Literal["red", "amber", "green"]
_GRAVEST: tuple[Level, ...] = ("red", "amber", "green")


@dataclass(frozen=True)
class Finding:
    """What one detector says of a network or of an attack on it.

    Attributes:
        detector: which one, by the name of its file.
        level: ``"red"``: the figures may not be believed; ``"amber"``: with care; ``"green"``: it
            looked and found nothing.
        text: a sentence; ``{count}`` and ``{of}`` in it stand for the two numbers below, which are
            added up where a cell is split into shards.
        names: evidence folded under the line, as ids of images.
    """

    detector: str
    level: Level
    text: str
    names: tuple[str, ...] = ()
    count: int = 0
    of: int = 0

    @property
    def sentence(self) -> str:
        """The text with its numbers."""
        told = self.text.replace("{count}", str(self.count)).replace("{of}", str(self.of))
        return re.sub(r"(?<!of )\b1 images\b", "1 image", told)


def merge_findings(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Findings of several shards as of one cell: equal texts are added up.

    A detector that is green on one shard and not on another is not green.
    """
    merged: dict[tuple[str, str, str], Finding] = {}
    for one in findings:
        key = (one.detector, one.text, one.level)
        known = merged.get(key)
        merged[key] = (
            one
            if known is None
            else replace(
                known,
                names=tuple(dict.fromkeys((*known.names, *one.names))),
                count=known.count + one.count,
                of=known.of + one.of,
            )
        )
    doubted = {one.detector for one in merged.values() if one.level != "green"}
    kept = [f for f in merged.values() if f.level != "green" or f.detector not in doubted]
    return tuple(sorted(kept, key=lambda f: _GRAVEST.index(f.level)))


@dataclass
class Outcome:
    """Per-image results of one probe on n images.

    Attributes:
        samples: column name -> array of shape [n]; bool, integer, float or text. A column that
            belongs to one eps carries it in its name: ``verified[eps=0.1]``.
        arrays: anything else worth keeping. Arrays with a row an image are joined where a run is
            split into shards; any other is then kept shard by shard, as ``name[shard=0]``.
        pictures: pictures for the report.
        metrics: summary numbers; left empty, every bool column becomes a rate and every float
            column a mean.
        notes: sentences that the report prints beside the numbers.
        cost: what it took, as ``{"forward": passes per image in sum, "backward": ...}``.
        findings: reasons to doubt the numbers, or the word that none was found.
    """

    samples: Mapping[str, Any]
    arrays: Mapping[str, Any] = field(default_factory=dict)
    pictures: Sequence[Picture] = ()
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    notes: Sequence[str] = ()
    cost: Mapping[str, float] = field(default_factory=dict)
    findings: Sequence[Finding] = ()

    def checked(self, n: int) -> Outcome:
        """The same outcome with numpy columns, after checking that it can be kept and read back.

        Raises:
            CellFailed: a column that is not [n] or holds objects, a metric of an unknown column or
                of text, an array of objects, a picture that is not uint8 pixels.
        """
        samples = {name: np.asarray(column) for name, column in self.samples.items()}
        for name, column in samples.items():
            _check_column(name, column, n)
        for name, metric in self.metrics.items():
            _check_metric(name, metric, samples)
        arrays = {name: np.asarray(value) for name, value in self.arrays.items()}
        for name, array in arrays.items():
            if array.dtype.kind not in "biufU":
                raise CellFailed(f"array {name!r} holds {array.dtype}; use numbers or text")
        return Outcome(
            samples,
            arrays,
            _checked_pictures(self.pictures),
            dict(self.metrics) or _default_metrics(samples),
            tuple(str(note) for note in self.notes),
            {str(name): float(value) for name, value in self.cost.items()},
            tuple(self.findings),
        )


def _check_column(name: str, column: Array, n: int) -> None:
    if name in RESERVED:
        raise CellFailed(f"column {name!r} is one of the lab's own; call it otherwise")
    if column.shape != (n,):
        raise CellFailed(
            f"column {name!r} has shape {list(column.shape)}; one value an image is [{n}]"
        )
    if column.dtype.kind not in "biufU":
        raise CellFailed(f"column {name!r} holds {column.dtype}; use bool, integer, float or text")


def _check_metric(name: str, metric: Metric, samples: Mapping[str, Array]) -> None:
    for column in filter(None, (metric.column, metric.among)):
        if column not in samples:
            raise CellFailed(f"metric {name!r} needs a column {column!r}{choices(column, samples)}")
    if samples[metric.column].dtype.kind == "U":
        raise CellFailed(f"metric {name!r} cannot be taken of {metric.column!r}, which is text")
    bools = [metric.among or "", metric.column if metric.negate else ""]
    for column in filter(None, bools):
        if samples[column].dtype.kind != "b":
            raise CellFailed(f"metric {name!r} needs {column!r} to be a column of bools")


def _checked_pictures(pictures: Sequence[Picture]) -> tuple[Picture, ...]:
    checked: list[Picture] = []
    for picture in pictures:
        pixels = np.asarray(picture.pixels)
        flat = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
        if pixels.dtype != np.uint8 or not flat or 0 in pixels.shape:
            raise CellFailed(
                f"picture {picture.name!r} is {pixels.dtype} {list(pixels.shape)}; "
                "give uint8 pixels, [height, width] or [height, width, 3]"
            )
        if picture.name in {one.name for one in checked}:
            raise CellFailed(f"two pictures are called {picture.name!r}; rename one")
        checked.append(Picture(picture.name, pixels, picture.caption))
    return tuple(checked)


def _default_metrics(samples: Mapping[str, Array]) -> dict[str, Metric]:
    return {name: Metric(name) for name, column in samples.items() if column.dtype.kind in "bf"}
