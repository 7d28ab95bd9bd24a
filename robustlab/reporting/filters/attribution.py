"""Attribution on the page: clean, adversarial, and what random weights would have drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from robustlab.reporting.filters.looks import Figure, Words, looks, mean, outcome
from robustlab.reporting.filters.units import signed_number
from robustlab.reporting.invariance.told import Told
from robustlab.reporting.section import Story
from robustlab.results import Group
from robustlab.verdict import code, plural

__all__ = ["attribution"]

# The ten colours of Matplotlib's tab10, in which the probe draws the most probable class.
_COLOURS = "1f77b4 ff7f0e 2ca02c d62728 9467bd 8c564b e377c2 7f7f7f bcbd22 17becf"
TAB10 = [f"#{one}" for one in _COLOURS.split()]
KINDS = ("randomised", "adversarial")


def attribution(story: Story, groups: Sequence[Group]) -> Told | None:
    """The part of the probe ``attribution``."""
    classes = story.evidence.about["data"]["classes"]

    def say(here: Sequence[Group]) -> Words:
        head = ["backbone", "method", "compared with", "rank correlation", "low", "high", "n"]
        rows = [row for g in here for row in _rows(g)]
        figures = [f for g in here for f in _figures(g, classes)]
        sentences = [s for g in here for s in _sentences(g, story.evidence.noun)]
        return Words(_title(here[0]), sentences, figures, "attribution.csv", head, rows)

    return looks(story, groups, "methods", say)


def _methods(group: Group) -> list[str]:
    return [str(m) for m in outcome(group).arrays["methods"]]


def _likeness(group: Group, kind: str) -> list[tuple[str, Any]]:
    """Method and number, those that were measured, falling."""
    found = [(m, mean(group, f"{kind}_likeness[method={m}]")) for m in _methods(group)]
    return sorted((one for one in found if one[1].n), key=lambda one: -one[1].value)


def _title(group: Group) -> str:
    found = _likeness(group, "randomised")
    if not found:
        return f"Which pixels speak for a class of {code(group.backbone)}"
    (most, high), (least, low) = found[0], found[-1]
    if most == least:
        return (
            f"{code(most)} of {code(group.backbone)} correlates {signed_number(high)} with its "
            "map under random weights"
        )
    return (
        f"Of {code(group.backbone)}, {code(most)} is most like its map with random weights "
        f"({signed_number(high)}), {code(least)} least ({signed_number(low)})"
    )


def _sentences(group: Group, noun: str) -> list[str]:
    found = outcome(group)
    measured = int(np.sum(found.samples["measured"]))
    fooled = int(np.sum(found.samples["fooled"]))
    name = code(group.backbone)
    parts = [_numbered(m, r, measured) for m, r in _likeness(group, "randomised")]
    told = [
        f"{name}, rank correlation with the map of random weights (n = "
        f"{plural(measured, noun)}): {', '.join(parts) or 'not measured'}."
    ]
    parts = [_numbered(m, r, fooled) for m, r in _likeness(group, "adversarial")]
    if parts:
        told.append(
            f"{name}, between an image and its adversarial twin, each explained for what the "
            f"network says on it (n = {fooled}): {', '.join(parts)}."
        )
    told += _completeness(group)
    if "occlusion_flips" in found.metrics and mean(group, "occlusion_flips").n:
        flips = mean(group, "occlusion_flips")
        told.append(
            f"{name}: the grey square changes the prediction at {100 * flips.value:.0f} % of its "
            f"places and takes the label's probability down to "
            f"{signed_number(mean(group, 'occlusion_lowest'))} at the worst of them."
        )
    return told


def _numbered(method: str, rate: Any, of: int) -> str:
    """A method's number; how many images it is of, where not all have one."""
    told = f"{code(method)} {signed_number(rate)}"
    return told if rate.n == of else f"{told} (n = {rate.n}: other maps are the same everywhere)"


def _completeness(group: Group) -> list[str]:
    """By how much the maps of integrated gradients miss what they have to add up to."""
    columns = outcome(group).samples
    parts = []
    for method in _methods(group):
        name = f"completeness_error[method={method}]"
        held = np.asarray(columns.get(name, np.empty(0)), dtype=float)
        held = held[~np.isnan(held)]
        if len(held):
            parts.append(
                f"{code(method)} {100 * float(np.median(held)):.3g} % in the median and "
                f"{100 * float(held.max()):.3g} % at most"
            )
    if not parts:
        return []
    return [
        f"{code(group.backbone)}: the sum of the attributions misses the change of the logit by "
        f"{', '.join(parts)}."
    ]


def _rows(group: Group) -> list[list[Any]]:
    names = {"randomised": "random weights", "adversarial": "adversarial image"}
    rows = []
    for kind in KINDS:
        for method in _methods(group):
            rate = mean(group, f"{kind}_likeness[method={method}]")
            numbers = [v if np.isfinite(v) else "" for v in (rate.value, rate.low, rate.high)]
            rows.append([group.backbone, method, names[kind], *numbers, rate.n])
    return rows


def _figures(group: Group, classes: Sequence[str]) -> list[Figure]:
    found = outcome(group)
    ids = [str(found.samples["id"][i]) for i in found.arrays["pictured"]]
    figures = []
    for picture in found.pictures:
        if picture.name == "attribution":
            caption = (
                f"{', '.join(ids)}: three rows each, clean, adversarial (grey where none was "
                "found), clean with random weights. In maps grey is zero, bright speaks for the "
                "class, dark against it; each has its own scale."
            )
            over = [one.replace("_", " ") for one in picture.caption.split(", ")]
            beside = ["clean", "adversarial", "clean, random weights"] * len(ids)
            figures.append(Figure(group.backbone, picture, caption, over, beside))
        if picture.name == "occlusion":
            order = found.arrays["occlusion_classes"].tolist()
            legend = [(TAB10[i], str(classes[c])) for i, c in enumerate(order)]
            caption = (
                f"{picture.caption[0].upper()}{picture.caption[1:]}, by where a grey square "
                "stands. The probability runs from 0, dark, to 1, bright."
            )
            over = picture.caption.split(", ")
            figures.append(Figure(group.backbone, picture, caption, over, ids, legend))
    return figures
