"""What the probe `depth_trace` found on one backbone, as the page asks for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab import statistics
from robustlab.results import Group
from robustlab.statistics import Rate

__all__ = ["CONTROLS", "Trace", "described", "factor", "portion", "trace_in"]

Array = NDArray[Any]

# As the probe names them -> in words.
CONTROLS = {
    "gaussian": "Gaussian noise, same L2",
    "sign": "sign noise, same Linf",
    "permuted": "the perturbation, pixels permuted",
}
NEVER = -1  # in the place of a count of channels


@dataclass(frozen=True)
class Trace:
    """Medians over images, with the interval between order statistics; shares with Wilson's.

    Distances and flips are of all images followed (``measured``); what brings the label back and
    the read-out are of those that lost it (``lost``).
    """

    backbone: str
    label: str
    params: dict[str, Any]
    arrays: dict[str, Array]
    measured: Array
    lost: Array
    notes: tuple[str, ...]

    @cached_property
    def names(self) -> list[str]:
        return [str(x) for x in self.arrays["layers"]]

    @cached_property
    def modules(self) -> list[str]:
        return [str(x) for x in self.arrays["modules"]]

    @property
    def n(self) -> int:
        """Images followed."""
        return int(self.measured.sum())

    @property
    def adjective(self) -> str:
        """``attacked`` or ``shifted``."""
        return described(self.params)[0]

    def amplification(self, place: int) -> Rate:
        """Relative distance at a layer over that at the input."""
        far = self.arrays["relative_distance"][:, place]
        return _median(_over(far, self.arrays["input_distance"])[self.measured])

    def mean_amplification(self, place: int) -> Rate:
        """Its mean over the images, which is what the summary holds of the logits."""
        far = self.arrays["relative_distance"][:, place]
        return statistics.bootstrap_mean(
            _over(far, self.arrays["input_distance"])[self.measured].astype(np.float64)
        )

    def control(self, name: str, place: int) -> Rate:
        """The same of a control, over its own distance at the input."""
        c = [str(x) for x in self.arrays["controls"]].index(name)
        far = self.arrays["control_relative_distance"][:, c, place]
        return _median(_over(far, self.arrays["control_input_distance"][:, c])[self.measured])

    def flips(self, place: int, control: str | None = None) -> Rate:
        """Share of units that are above zero on one side only."""
        if control is None:
            return _median(self.arrays["flips"][self.measured, place])
        c = [str(x) for x in self.arrays["controls"]].index(control)
        return _median(self.arrays["control_flips"][self.measured, c, place])

    def cosine(self, place: int) -> Rate:
        return _median(self.arrays["cosine"][self.measured, place])

    def restoring(self, place: int) -> Rate:
        """Smallest share of the changed channels that brings the label back; inf: none does."""
        return _median(self._shares(self.arrays["restoring"][:, place], place)[self.lost])

    def restoring_random(self, place: int) -> Rate:
        """The same of channels in random order: of each image the median over its draws."""
        counts = self.arrays["restoring_random"][:, :, place]
        if not counts.shape[1]:
            return _median(np.empty(0))
        drawn = [self._shares(counts[:, d], place)[self.lost] for d in range(counts.shape[1])]
        # The lower of the two middle draws: a mean of a number and infinity would be infinity.
        middle = np.sort(np.array(drawn), axis=0)[(len(drawn) - 1) // 2]
        return _median(middle)

    def _shares(self, counts: Array, place: int) -> Array:
        changed = self.arrays["changed_channels"][:, place]
        share = counts / np.maximum(changed, 1)
        return np.where((counts == NEVER) | (changed == 0), np.inf, share)

    @cached_property
    def read(self) -> bool:
        """Whether there was a read-out."""
        return bool(self.lost.any() and (self.arrays["readout_clean"][self.lost] >= 0).all())

    def own(self, which: str, place: int) -> Rate:
        """Share still read as the class of the clean image, among those whose clean image is."""
        said, own = self.arrays[f"readout_{which}"][:, place], self.arrays["predictions"][:, 0]
        right = self.lost & (self.arrays["readout_clean"][:, place] == own)
        return statistics.rate((said == own)[right] if self.read else [])

    @cached_property
    def left(self) -> int | None:
        """The first layer from which on fewer than half are still read as their own class, there
        with its whole interval.
        """
        shares = [self.own("changed", p) for p in range(len(self.names))]
        for place, share in enumerate(shares):
            if share.n and share.high < 0.5 and all(s.value < 0.5 for s in shares[place:]):
                return place
        return None

    @property
    def place(self) -> int:
        """The layer at which sentences tell what restores the label: where the class is left, or
        the nearest in front of it that no branch goes round. Never the logits, if there is any
        other: there the label is one number.
        """
        last = max(0, len(self.names) - 2)
        end = last if self.left is None else min(self.left, last)
        return next((p for p in range(end, -1, -1) if self.cuts[p]), end)

    @cached_property
    def cuts(self) -> list[bool]:
        """Of each layer, whether setting back all of it gave the clean logits, bit for bit."""
        exact = self.arrays["whole_exact"][self.measured]
        return [bool(exact[:, p].all()) for p in range(len(self.names))]


def described(params: Mapping[str, Any]) -> tuple[str, str]:
    """What was done to the images: an adjective, and in words."""
    if params.get("change", "attack") == "attack":
        told = (f"{params.get('attack')}", f"{params.get('norm')}", f"eps {params.get('eps')}")
        return "attacked", ", ".join(told)
    dy, dx = params.get("shift", (0, 0))
    entering = {"circular": "what leaves enters on the other side", "zero": "black enters"}
    return "shifted", f"shift by ({dy}, {dx}) pixels; {entering[str(params['change'])]}"


def trace_in(group: Group) -> Trace | None:
    """The group's arrays; None where it holds none, or no image was followed."""
    outcome = group.outcome
    if outcome is None or "restoring" not in outcome.arrays:
        return None
    measured = np.asarray(outcome.samples["measured"], dtype=bool)
    if not measured.any():
        return None
    return Trace(
        group.backbone,
        group.label,
        dict(group.plan["params"]),
        {k: np.asarray(v) for k, v in outcome.arrays.items()},
        measured,
        np.asarray(outcome.samples["lost"], dtype=bool),
        tuple(outcome.notes),
    )


def _over(far: Array, near: Array) -> Array:
    """Their ratio; NaN where an image did not change at all."""
    with np.errstate(invalid="ignore"):
        return np.asarray(far / near)


def _median(values: Array) -> Rate:
    values = np.asarray(values, dtype=np.float64)
    return statistics.median(values[~np.isnan(values)])


def factor(found: Rate) -> str:
    """``2.65 [2.1, 3.0]``; too few images have no interval."""
    if not found.n:
        return "not measured"
    value = f"{found.value:.3g}"
    if math.isinf(found.low) or math.isnan(found.low):
        return f"{value} (too few for an interval)"
    return f"{value} [{found.low:.3g}, {found.high:.3g}]"


def portion(found: Rate) -> str:
    """A median share in per cent; ``none`` where no share is enough."""
    if not found.n:
        return "not measured"

    def written(value: float) -> str:
        return "none" if math.isinf(value) else f"{100 * value:.3g}"

    value = "no share" if math.isinf(found.value) else f"{written(found.value)} %"
    if math.isinf(found.low):
        return f"{value} (too few for an interval)" if found.low < 0 else value
    return f"{value} [{written(found.low)}, {written(found.high)}]"
