"""Errors under common corruptions: a heat table a backbone, the plain mean, and the mCE if any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab import statistics
from robustlab.invariance.mce import weighed
from robustlab.reporting.invariance.severity_drawing import tiles
from robustlab.reporting.invariance.told import Told
from robustlab.reporting.section import Story, render
from robustlab.results import Group
from robustlab.statistics import Rate
from robustlab.verdict import code, plural

__all__ = ["corruptions", "mean_error", "shade"]

SEVERITIES = 5


def corruptions(story: Story, groups: Sequence[Group]) -> Told | None:
    """The part of the probe ``corruptions``; nothing where no group holds its arrays."""
    told = [one for group in groups if (one := _table(story, group)) is not None]
    if not told:
        return None
    outcome = next(g.outcome for g in groups if g.outcome is not None)
    # Each shard hands over its own first image: one is shown, the first of the whole run.
    pictures = {p.name: p for p in reversed(outcome.pictures)}
    first = outcome.pictures[0].caption if outcome.pictures else ""
    shown = [p for p in outcome.pictures if pictures[p.name] is p and p.caption == first]
    strips = [(_words(p.name), *tiles(p.pixels, SEVERITIES)) for p in shown]
    body = render(
        "corruptions.html",
        story,
        tables=told,
        severities=range(1, SEVERITIES + 1),
        strips=strips,
        image=first,
        notes=list(dict.fromkeys(n for g in groups if g.outcome for n in g.outcome.notes)),
        head=["backbone", "corruption", "severity", "error", "low", "high", "n"],
        data=[row for one in told for row in one["data"]],
    )
    return Told(_title(story, told), body)


def _title(story: Story, told: Sequence[dict[str, Any]]) -> str:
    """The mean error of each backbone, and what costs the first most; the mCE if any."""
    means = " and ".join(f"{one['mean']} ({code(one['backbone'])})" for one in told[:2])
    more = f", {plural(len(told) - 2, 'more backbones')} below" if len(told) > 2 else ""
    if all(one["mce"] for one in told):
        more += f", mCE {' and '.join(one['mce'] for one in told[:2])}"
    worst = max(told[0]["rows"], key=lambda row: row["mean"].value)
    costs = f"; {worst['name']} costs {code(told[0]['backbone'])} most, {worst['mean']}"
    return (
        f"Over {plural(len(told[0]['rows']), 'corruptions')} at five severities the mean error on "
        f"{plural(told[0]['n'], story.evidence.noun)} is {means}{more}"
        f"{costs if len(told[0]['rows']) > 1 and worst['mean'].value > 0 else ''}"
    )


def _table(story: Story, group: Group) -> dict[str, Any] | None:
    """One backbone's numbers, recounted from its arrays."""
    assert group.outcome is not None
    arrays = group.outcome.arrays
    kinds = [key[8:-1] for key in arrays if key.startswith("correct[")]
    wrong = {kind: ~np.asarray(arrays[f"correct[{kind}]"], dtype=bool) for kind in kinds}
    clean = group.outcome.samples.get("clean_correct")
    if not kinds or clean is None or any(w.shape[1:] != (SEVERITIES,) for w in wrong.values()):
        return None
    every = np.concatenate([wrong[kind] for kind in kinds], axis=1)
    data = [
        [group.backbone, kind, s + 1, r.value, r.low, r.high, r.n]
        for kind in kinds
        for s, r in enumerate(_rates(wrong[kind]))
    ]
    return {
        "backbone": group.backbone,
        "label": group.label if group.plan["label_params"] else "",
        "n": len(clean),
        "clean": statistics.rate(~np.asarray(clean, dtype=bool)),
        "mean": mean_error(every),
        "mce": _mce(group, wrong),
        "worst": statistics.rate(~every.any(axis=1)),
        "by_severity": np.mean([w.mean(axis=0) for w in wrong.values()], axis=0).tolist(),
        "rows": [
            {
                "name": _words(kind),
                "cells": [(r, shade(r.value)) for r in _rates(wrong[kind])],
                "mean": mean_error(wrong[kind]),
            }
            for kind in kinds
        ],
        "data": data,
    }


def _mce(group: Group, wrong: Mapping[str, NDArray[np.bool_]]) -> str:
    """The mean corruption error with its interval over images; empty where the run gave none."""
    assert group.outcome is not None
    if "mce" not in group.outcome.samples:
        return ""
    share = weighed({kind: one.mean(axis=1) for kind, one in wrong.items()})
    found = statistics.bootstrap_mean(share)
    interval = "" if np.isnan(found.low) else f" [{100 * found.low:.1f}, {100 * found.high:.1f}]"
    return f"{100 * found.value:.1f} %{interval}"


def mean_error(wrong: NDArray[np.bool_]) -> Rate:
    """Mean of the errors of each image, bool [n, versions]; intervals resample images."""
    return statistics.mean_share(wrong.mean(axis=1))


def _rates(wrong: NDArray[np.bool_]) -> list[Rate]:
    return [statistics.rate(column) for column in wrong.T]


def _words(kind: str) -> str:
    """``gaussian_noise`` as it is read."""
    return kind.replace("_", " ").replace("jpeg", "JPEG").replace("gaussian", "Gaussian")


def shade(share: float) -> dict[str, str]:
    """The ground of a cell for a share in [0, 1] (cividis), and an ink that can be read on it."""
    from matplotlib import colormaps

    red, green, blue, _ = colormaps["cividis"](float(share))
    luminance = sum(
        weight * (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4)
        for weight, c in zip((0.2126, 0.7152, 0.0722), (red, green, blue), strict=True)
    )  # WCAG 2: relative luminance; either ink has a contrast of at least 4.5 on either side
    ground = "#" + "".join(f"{round(255 * c):02x}" for c in (red, green, blue))
    return {"ground": ground, "ink": "#ffffff" if luminance < 0.179 else "#000000"}
