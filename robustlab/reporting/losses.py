"""Did the searches converge? The loss they ascend, step by step, with its quartiles.

An image leaves once it is fooled, so the curve at a step is of the images still searched there.
Whether a search has stopped rising is judged on the images that stayed to its last step, each on
the largest loss so far: these are the ones that more steps could still break.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab import catalogue
from robustlab.reporting.losses_drawing import BANDS, draw_losses, spread
from robustlab.reporting.section import Section, Story, render
from robustlab.resting import in_logits, still_rising, too_many
from robustlab.results import Group
from robustlab.statistics import Rate, rate

__all__ = ["Curve", "curves_of", "losses", "rises", "spread"]

MOST = 8  # panels
KEPT = 128  # steps whose losses a run keeps
BOUNDARY, NONE_LEFT, UNSEEN = "looks for the boundary", "none left to break", "end not kept"
UNITS = {"ce": "cross-entropy", "margin": "margin of logits", "dlr": "DLR (no unit)"}
_NAME = re.compile(r"^loss(?:\[(?P<stage>.+)\])?\[eps=(?P<eps>[^\]]+)\]$")


@dataclass(frozen=True)
class Curve:
    """The losses [m, steps] of one search on one backbone; NaN where an image is not searched.

    ``steps`` is how many the search was to take, ``cut`` that the first of several walks is shown,
    ``entropy`` that the losses are cross-entropies, ``group`` the label of the attack in the plan.
    """

    backbone: str
    label: str
    eps: str
    loss: NDArray[np.float64]
    unit: str
    minimum: bool
    steps: int | None
    cut: bool
    entropy: bool = False
    group: str = ""

    @property
    def inside(self) -> NDArray[np.int64]:
        """Images still searched at each step."""
        counts: NDArray[np.int64] = (~np.isnan(self.loss)).sum(axis=0)
        return counts

    @property
    def state(self) -> str:
        """In words, whether more steps would help."""
        wide = self.loss.shape[1]
        if self.minimum:
            return BOUNDARY
        if self.steps is not None and wide < min(self.steps, KEPT):
            return NONE_LEFT  # the last image left before the last step
        if wide < max(3, self.steps or 0):
            return UNSEEN
        stopped, flat = rises(self.loss, self.entropy)
        rising = round((1 - stopped.value) * stopped.n) if stopped.n else 0
        if 2 * flat > stopped.n:
            return "never rose"
        return "still rising" if too_many(rising, stopped.n) else "stopped rising"


def rises(loss: NDArray[np.float64], entropy: bool = False) -> tuple[Rate, int]:
    """Of the images searched to the last step, the share whose loss has stopped rising: over the
    last tenth of the steps the slope of the best loss so far is no more than half of its average.
    Then, how many never rose at all. Cross-entropies are judged in logits; see `resting`.
    """
    stayed = loss[~np.isnan(loss).any(axis=1)]
    flat = int((stayed.max(axis=1) <= stayed[:, 0]).sum()) if len(stayed) else 0
    return rate(~still_rising(in_logits(stayed) if entropy else stayed)), flat


def losses(story: Story) -> Section | None:
    """The section; nothing where no search kept its losses for more than one step."""
    found = curves_of(story)
    if not found:
        return None
    panels = list(dict.fromkeys(c.label for c in found))
    drawings = draw_losses(story, [c for c in found if c.label in panels[:MOST]])
    body = render(
        "losses.html",
        story,
        curves=found,
        rows=[_row(c) for c in found],
        names=[n for n in story.evidence.backbones if n in {c.backbone for c in found}],
        drawings=drawings,
        hidden=len(panels) - len(panels[:MOST]),
        bands=len(story.evidence.backbones) <= BANDS,
        data=list(_data(found)),
        head=["attack", "backbone", "eps", "step", "low", "median", "high", "images"],
    )
    return Section("losses", "Did the searches converge?", _title(found), body)


def curves_of(story: Story) -> list[Curve]:
    """A curve for each search of the main norm and each backbone, by attack."""
    verdict, evidence = story.verdict, story.evidence
    if verdict.eps is None:
        return []
    groups = [g for b in evidence.backbones for g in evidence.attacks(b, verdict.norm)]
    found = [c for g in groups for c in _curves(story, g)]
    order = list(dict.fromkeys(c.label for c in found))
    return sorted(found, key=lambda c: order.index(c.label))


def _curves(story: Story, group: Group) -> Iterator[Curve]:
    """Of each stage the losses at the telling eps, or at the eps nearest to it."""
    assert group.outcome is not None
    assert story.verdict.eps is not None
    telling = story.verdict.eps.value
    values = dict(zip(group.plan["eps"], group.plan["eps_values"], strict=True))
    by_stage: dict[str, dict[str, NDArray[Any]]] = {}
    for name, array in group.outcome.arrays.items():
        told = _NAME.match(name)
        if told and np.ndim(array) == 2 and told["eps"] in values and array.shape[1] > 1:
            by_stage.setdefault(told["stage"] or "", {})[told["eps"]] = array
    for stage, arrays in by_stage.items():
        eps = min(
            arrays, key=lambda e: (values[e] > telling * (1 + 1e-9), abs(values[e] - telling))
        )
        curve = _curve(group, stage, eps, np.asarray(arrays[eps], dtype=np.float64))
        if curve is not None:
            yield curve


def _curve(group: Group, stage: str, eps: str, loss: NDArray[np.float64]) -> Curve | None:
    params, facts = _about(stage or str(group.plan["probe"]))
    if not stage:
        params |= group.plan["params"]
    asked, minimum = params.get("steps"), bool(facts.get("minimum_norm"))
    steps = asked if isinstance(asked, int) and asked > 0 else None
    several = steps is not None and loss.shape[1] > steps
    if several and "targets" not in params:
        return None  # several looks a step: what was kept is not a curve
    label = f"{stage} in {group.label}" if stage else group.label
    ascended = params.get("loss", facts.get("loss"))
    unit = UNITS.get(str(ascended), "loss")
    entropy = ascended in ("ce", None)  # as the detector takes an attack that names no loss
    loss = loss[:, :steps] if several else loss
    loss = loss[~np.isnan(loss).all(axis=1)]
    eps = "" if minimum else eps  # such a search is the same for every eps
    return Curve(
        group.backbone, label, eps, loss, unit, minimum, steps, several, entropy, group.label
    )


def _about(label: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is known of ``apgdt steps=100``: its parameters, and what its class states."""
    name, *given = label.split()
    entry = catalogue.entries().get(name)
    params: dict[str, Any] = {p.name: p.default for p in entry.parameters} if entry else {}
    for word in given:
        key, _, value = word.partition("=")
        params[key] = int(value) if value.isdigit() else value
    return params, dict(entry.facts) if entry else {}


def _row(curve: Curve) -> dict[str, Any]:
    low, middle, high = spread(curve.loss)
    stopped, flat = rises(curve.loss, curve.entropy)
    middle, low, high = (values + 0.0 for values in (middle, low, high))  # no -0
    ends = [f"{middle[k]:.3g} [{low[k]:.3g}, {high[k]:.3g}]" for k in (0, -1)]
    judged = curve.state not in (BOUNDARY, NONE_LEFT, UNSEEN)
    return {
        "curve": curve,
        "first": ends[0],
        "last": ends[1],
        "seen": len(curve.loss),
        "left": int(curve.inside[-1]),
        "stopped": stopped if judged else None,
        "flat": flat if judged and flat else 0,
    }


def _data(found: Sequence[Curve]) -> Iterator[list[Any]]:
    for c in found:
        for step, (low, middle, high) in enumerate(spread(c.loss).T.tolist(), 1):
            yield [c.label, c.backbone, c.eps, step, low, middle, high, int(c.inside[step - 1])]


def _title(found: Sequence[Curve]) -> str:
    open_ = [c.state for c in found if c.state not in (BOUNDARY, NONE_LEFT, UNSEEN)]
    if not open_:
        return "No search with a fixed budget had images left to break at its last step"
    stopped, flat = open_.count("stopped rising"), open_.count("never rose")
    title = f"The loss of {stopped} of {len(open_)} searches has stopped rising"
    return f"{title}; {flat} never rose at all" if flat else title
