"""What the shift probe found of each backbone, recomputed from its maps, and pairs of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab import statistics
from robustlab.invariance import shift_measures as measures
from robustlab.results import Group
from robustlab.statistics import Paired, Rate
from robustlab.verdict import holm

__all__ = ["Between", "Pair", "Shifts", "pairs_of"]

Array = NDArray[Any]

# The vectors of unshifted images, and how far shifts move them.
_CHANGES = {"logits": "logit_change", "embedding": "embedding_change"}


@dataclass(frozen=True)
class Shifts:
    """One backbone under one mode and radius."""

    group: Group

    @property
    def backbone(self) -> str:
        return self.group.backbone

    @property
    def mode(self) -> str:
        return str(self.group.plan["params"]["mode"])

    @property
    def radius(self) -> int:
        return int(self.group.plan["params"]["radius"])

    @property
    def draws(self) -> int:
        return int(self.group.plan["params"]["draws"])

    @property
    def radii(self) -> list[int]:
        return measures.radii_within(self.radius)

    def array(self, name: str) -> Array:
        assert self.group.outcome is not None
        return np.asarray(self.group.outcome.arrays[name])

    def column(self, name: str, radius: int | None = None) -> Array:
        assert self.group.outcome is not None
        full = name if radius is None else f"{name}[radius={radius}]"
        return np.asarray(self.group.outcome.samples[full])

    @cached_property
    def prediction(self) -> Array:
        return self.array("prediction")

    @property
    def labels(self) -> Array:
        return self.column("label")

    @property
    def n(self) -> int:
        return len(self.prediction)

    @property
    def period(self) -> int:
        """After how many pixels circular shifts repeat, as measured; 0: they do not."""
        return int(self.column("period").max(initial=0))

    @property
    def stride(self) -> int:
        return int(self.column("stride").max(initial=1))

    @property
    def clean(self) -> Rate:
        return statistics.rate(self.column("clean_correct"))

    def everywhere(self, radius: int) -> Array:
        """Whether each image is right at every shift within a radius, bool [n]."""
        return measures.right_everywhere(measures.centre(self.prediction, radius), self.labels)

    def share(self, radius: int) -> Array:
        """Share of shifts within a radius at which each image is right, [n]."""
        return measures.share_right(measures.centre(self.prediction, radius), self.labels)

    def worst(self, radius: int) -> Rate:
        """Accuracy under the exhaustive adversarial shift."""
        return statistics.rate(self.everywhere(radius))

    def worst_of_k(self, radius: int) -> Rate:
        return statistics.rate(self.column("worst_of_k_accuracy", radius))

    def mean(self, radius: int) -> Rate:
        """Accuracy over all shifts; images are resampled, each with all its shifts."""
        return statistics.mean_share(self.share(radius))

    def consistency(self, radius: int) -> Rate:
        inner = measures.centre(self.prediction, radius)
        return statistics.mean_share(measures.pair_consistency(inner))

    def change(self, radius: int, axis: str) -> Rate:
        """P(top-1 changes) in a one-pixel step."""
        inner = measures.centre(self.prediction, radius)
        return statistics.mean_share(measures.steps_changed(inner, axis))

    def moved(self, radius: int, axis: str) -> Rate:
        """Mean |dp| of a one-pixel step."""
        inner = measures.centre(self.array("dp"), radius)
        return statistics.mean_share(measures.step_mean(inner, axis))

    def error(self, name: str, radius: int) -> Rate:
        """Error of the ``"logits"`` or the ``"embedding"``, relative to the spread over all images;
        not measured where there is none.
        """
        assert self.group.outcome is not None
        changes = _CHANGES[name]
        if changes not in self.group.outcome.arrays:
            return Rate(math.nan, math.nan, math.nan, 0)
        inner = measures.centre(self.array(changes), radius)
        return statistics.bootstrap_mean(measures.relative_error(inner, self.array(name)))

    def unrelated(self, name: str) -> Rate:
        """The same error between two images of the data, mean over all pairs; images are resampled,
        each with all its pairs.
        """
        assert self.group.outcome is not None
        if _CHANGES[name] not in self.group.outcome.arrays:
            return Rate(math.nan, math.nan, math.nan, 0)
        return self._unrelated[name]

    @cached_property
    def _unrelated(self) -> dict[str, Rate]:
        assert self.group.outcome is not None
        return {
            name: statistics.bootstrap_mean(measures.unrelated_shares(self.array(name)))
            for name, changes in _CHANGES.items()
            if changes in self.group.outcome.arrays
        }

    @property
    def parts(self) -> int:
        """Steps a pixel of the sub-pixel line; 1: there is none."""
        return int(self.group.plan["params"].get("subpixel", 1))

    @property
    def axis(self) -> str:
        return str(self.group.plan["params"].get("axis", "diagonal"))

    def along_the_line(self) -> Between:
        """What becomes of each image's answer at the whole and at all positions of the line."""
        line = self.array("line_prediction")
        still = line[:, self.radius * self.parts, None]
        return Between(
            whole=(line[:, :: self.parts] == still).all(axis=1),
            all=(line == still).all(axis=1),
            right=(line == self.labels[:, None]).all(axis=1),
        )

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """Accuracy at each shift, [S, S]."""
        return measures.accuracy_map(self.prediction, self.labels)


@dataclass(frozen=True)
class Between:
    """Bool [n]: the answer stays that of the unshifted image at every whole pixel, and at every
    position of the line; it is right at every position.
    """

    whole: Array
    all: Array
    right: Array


@dataclass(frozen=True)
class Pair:
    """Two backbones on the same images.

    Attributes:
        clean, mean: points that the first is ahead, unshifted and over all shifts; intervals
            resample the images, both backbones together. Where all images differ by the same there
            is none (NaN): nothing was seen to vary.
        worst: exact McNemar on what stays right at every shift; p corrected over all pairs (Holm).
    """

    first: Shifts
    second: Shifts
    clean: Rate
    mean: Rate
    worst: Paired
    p: float


def pairs_of(found: Sequence[Shifts]) -> list[Pair]:
    """Every pair of backbones that saw the same images, best first in each."""
    ranked = sorted(found, key=lambda s: (-s.worst(s.radius).value, -s.mean(s.radius).value))
    made: list[Pair] = []
    for first, second in itertools.combinations(ranked, 2):
        if not np.array_equal(first.column("id"), second.column("id")):
            continue
        radius = first.radius
        clean = first.column("clean_correct").astype(float) - second.column("clean_correct")
        share = first.share(radius) - second.share(radius)
        worst = statistics.mcnemar(first.everywhere(radius), second.everywhere(radius))
        ahead = _ahead(clean), _ahead(share)
        made.append(Pair(first, second, *ahead, worst, worst.p))
    corrected = holm([one.worst.p for one in made])
    return [replace(one, p=p) for one, p in zip(made, corrected, strict=True)]


def _ahead(apart: Array) -> Rate:
    """Mean of paired differences [n], with an interval where they vary."""
    found = statistics.bootstrap_mean(apart)
    vary = len(np.unique(apart)) > 1
    return found if vary else Rate(found.value, math.nan, math.nan, found.n)
