"""The lecture's demonstration as a table of numbers, and the same counted on one's own images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab import statistics
from robustlab.outcome import Outcome
from robustlab.reporting.invariance.layers_found import share
from robustlab.reporting.invariance.told import Told
from robustlab.reporting.section import Story, render
from robustlab.results import Group
from robustlab.statistics import Rate

__all__ = ["demonstration"]

Array = NDArray[Any]

TENTHS = 10.0  # the lecture's row is kept in tenths


def demonstration(story: Story, groups: Sequence[Group]) -> Told | None:
    """Told once: no network takes part, so all backbones hold the same numbers."""
    outcome = next((g.outcome for g in groups if g.outcome and "kinds" in g.outcome.arrays), None)
    if outcome is None:
        return None
    kinds = [str(k) for k in outcome.arrays["kinds"]]
    counted = [_counted(outcome, kind) for kind in kinds]
    body = render(
        "demonstration.html",
        story,
        lecture=_example(outcome, "lecture", kinds, TENTHS),
        row=_example(outcome, "row", kinds, 1.0),
        row_id=str(outcome.arrays["row_id"]),
        row_place=[int(v) for v in outcome.arrays["row_place"]],
        inputs=_written(_rate(outcome, "inputs")),
        counted=counted,
        n=len(outcome.samples["id"]),
        head=["pooling", "changed", "outputs", "changed once moved", "outputs compared"],
        rows=[[c["kind"], *c["counts"]] for c in counted],
    )
    return Told(_title(story, outcome, kinds), body)


def _rate(outcome: Outcome, name: str) -> Rate:
    return statistics.mean_share(outcome.samples[f"changed[{name}]"])


def _counted(outcome: Outcome, kind: str) -> dict[str, Any]:
    names = [c.removeprefix("changed[").removesuffix("]") for c in outcome.samples if "[" in c]
    totals = np.asarray(outcome.arrays["counts"], dtype=np.int64).sum(axis=0)
    both = [totals[names.index(n)].tolist() for n in (kind, f"{kind}, moved")]
    return {
        "kind": kind,
        "changed": _written(_rate(outcome, kind)),
        "moved": _written(_rate(outcome, f"{kind}, moved")),
        "counts": [*both[0], *both[1]],
    }


def _written(found: Rate) -> str:
    return "none reached" if found.n == 0 else share(found)


def _title(story: Story, outcome: Outcome, kinds: Sequence[str]) -> str:
    """What half of the outputs became on one's own images."""
    found = _rate(outcome, kinds[0])
    lecture = _example(outcome, "lecture", kinds, TENTHS)
    first = lecture["kinds"][0]
    text = (
        f"Moved by one, {lecture['changed']} of {lecture['of']} inputs of the lecture's row change "
        f"and {first['changed']} of {first['of']} outputs of max pooling"
    )
    if not found.n:
        return text
    return f"{text}; on the rows of these {story.evidence.noun} it is {share(found)} of the outputs"


def _example(outcome: Outcome, name: str, kinds: Sequence[str], unit: float) -> dict[str, Any]:
    """One row with its outputs: cells as text, and whether each changed."""
    given = np.asarray(outcome.arrays[f"{name}_input"], dtype=float) / unit
    outputs = np.asarray(outcome.arrays[f"{name}_output"], dtype=float) / unit
    moved = [
        f"{c} of {of}" if of else "nothing to compare"
        for c, of in outcome.arrays[f"{name}_moved"].tolist()
    ]
    return {
        **_pair(given),
        "width": given.shape[1],
        "kinds": [
            {"kind": kind, "moved": along, **_pair(one)}
            for kind, one, along in zip(kinds, outputs, moved, strict=True)
        ],
    }


def _pair(both: Array) -> dict[str, Any]:
    before, after = (row[~np.isnan(row)] for row in both)
    changed = [not math.isclose(a, b, abs_tol=1e-9) for a, b in zip(before, after, strict=True)]
    return {
        "before": [f"{v:.3g}" for v in before],
        "after": [(f"{v:.3g}", c) for v, c in zip(after, changed, strict=True)],
        "changed": sum(changed),
        "of": len(changed),
        "empty": both.shape[1] - len(before),
    }
