"""Zeiler and Fergus on the page: what drives units most, in the data and in images made for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from robustlab.reporting.filters.looks import Figure, Words, looks, mean, outcome
from robustlab.reporting.invariance.told import Told
from robustlab.reporting.section import Story
from robustlab.results import Group
from robustlab.statistics import Rate
from robustlab.verdict import code, plural

__all__ = ["deconvnet", "maximisation", "signed_number"]

# Kinds of targets, one and many; the answers of the first that a run has are pushed apart.
MANY = {"channel": "channels", "unit": "units", "class": "classes"}


def signed_number(rate: Rate) -> str:
    """A correlation with its interval."""
    if rate.n == 0:
        return "not measured"
    if np.isnan(rate.low):
        return f"{rate.value:.2f} (one image, no interval)"
    return f"{rate.value:.2f} [{rate.low:.2f}, {rate.high:.2f}]"


def deconvnet(story: Story, groups: Sequence[Group]) -> Told | None:
    """The part of the probe ``deconvnet``."""

    def say(here: Sequence[Group]) -> Words:
        group = here[0]
        likeness = signed_number(mean(group, "randomised_likeness"))
        title = (
            f"What drives the units of {code(group.backbone)}: projections correlate "
            f"{likeness} with those of random weights"
        )
        figures = [f for g in here for f in _unit_figures(g)]
        rows = [row for g in here for row in _unit_rows(g)]
        head = ["backbone", "layer", "unit", "rank", "image", "activation", "rows", "columns"]
        head += ["with random weights", "with the gradient"]
        sentences = [_projected(g, story.evidence.noun) for g in here]
        return Words(title, sentences, figures, "units.csv", head, rows)

    return looks(story, groups, "unit_layer", say)


def _projected(group: Group, noun: str) -> str:
    found = outcome(group)
    arrays = found.arrays
    units = plural(len(arrays["unit"]), "units")
    layers = ", ".join(code(str(name)) for name in arrays["layers"])
    control, plain = (mean(group, f"{k}_likeness") for k in ("randomised", "gradient"))
    return (
        f"{code(group.backbone)}, {units} of {layers}: inside the patches the projections have a "
        f"rank correlation of {signed_number(control)} with those of random weights "
        f"(n = {plural(control.n, noun)}) and of {signed_number(plain)} with the plain gradient "
        f"(n = {plain.n})."
    )


def _unit_figures(group: Group) -> list[Figure]:
    arrays = outcome(group).arrays
    figures = []
    for picture in outcome(group).pictures:
        layer = int(picture.name.rpartition("_")[2])
        units = arrays["unit"][arrays["unit_layer"] == layer].tolist()
        alive, channels = int(arrays["alive"][layer]), int(arrays["channels"][layer])
        caption = (
            f"Layer {arrays['layers'][layer]}, {channels} units, {alive} of which anything drives: "
            "the nine strongest patches of each, cut to what the unit sees, and their projections."
        )
        beside = [f"unit {unit}" for unit in units]
        over = "patches", "projections", "projections, random weights"
        figures.append(Figure(group.backbone, picture, caption, over, beside))
    return figures


def _unit_rows(group: Group) -> list[list[Any]]:
    found = outcome(group)
    a, ids = found.arrays, found.samples["id"]
    rows = []
    for u, j in np.argwhere(a["rows"] >= 0).tolist():
        top, bottom, left, right = a["boxes"][u, j].tolist()
        layer = str(a["layers"][a["unit_layer"][u]])
        rows.append(
            [
                group.backbone,
                layer,
                int(a["unit"][u]),
                j + 1,
                str(ids[a["rows"][u, j]]),
                float(a["values"][u, j]),
                f"{top} to {bottom - 1}",
                f"{left} to {right - 1}",
                *(_number(a[k][u, j]) for k in ("randomised_likeness", "gradient_likeness")),
            ]
        )
    return rows


def _number(value: Any) -> float | str:
    return float(value) if np.isfinite(value) else ""


def maximisation(story: Story, groups: Sequence[Group]) -> Told | None:
    """The part of the probe ``maximisation``."""

    def say(here: Sequence[Group]) -> Words:
        title = _made_title(here)
        rows = [row for g in here for row in _target_rows(g)]
        head = ["backbone", "kind", "layer", "channel", "reached", "strongest of the data", "image"]
        figures = [f for g in here for f in _made_figures(g)]
        return Words(title, [_reached(g) for g in here], figures, "maximisation.csv", head, rows)

    return looks(story, groups, "reached", say)


def _made_title(here: Sequence[Group]) -> str:
    """From the network whose images fall short most often to that where they do least."""
    found = sorted((b / t if t else 1.0, b, t, g.backbone) for g in here for b, t in [_beyond(g)])
    _, beyond, targets, name = found[0]
    start = "go beyond the strongest of the data for"
    if len(found) == 1:
        return f"Images made for {code(name)} {start} {beyond} of {plural(targets, 'targets')}"
    if all(one[1:3] == (beyond, targets) for one in found):
        return f"Images made {start} {beyond} of {plural(targets, 'targets')} of each network"
    _, most, out_of, best = found[-1]
    return (
        f"Images made {start} {beyond} of {plural(targets, 'targets')} of {code(name)}, "
        f"{most} of {out_of} of {code(best)}"
    )


def _beyond(group: Group) -> tuple[int, int]:
    a = outcome(group).arrays
    return int((a["reached"] > a["strongest"]).sum()), len(a["reached"])


def _reached(group: Group) -> str:
    a = outcome(group).arrays
    beyond, targets = _beyond(group)
    parts = []
    for kind in dict.fromkeys(a["kind"].tolist()):
        held = (a["kind"] == kind) & (a["strongest"] > 0)
        if held.any():
            ratio = float(np.median(a["reached"][held] / a["strongest"][held]))
            parts.append(f"{ratio:.2g} times for a {kind}")
    times = f"; in the median {', '.join(parts)}" if parts else ""
    return (
        f"{code(group.backbone)}: {beyond} of {targets} images made drive their target further "
        f"than anything in the data{times}."
    )


def _made_figures(group: Group) -> list[Figure]:
    a = outcome(group).arrays
    rows = _by_layer(a["kind"], a["layer"], a["channel"])
    kind = next(k for k in MANY if k in a["kind"])
    apart = zip(a["diverse_layer"], a["diverse_channel"], strict=True)
    held = ", ".join(f"{v:.2f}" for v in a["diverse_likeness"].tolist() if np.isfinite(v))
    labels = {
        "maximised": (
            ["made", "data"] * max(map(len, rows.values()), default=0),
            [_named(*place, channels) for place, channels in rows.items()],
        ),
        "diversity": ([], [_named(kind, str(layer), [str(c)]) for layer, c in apart]),
    }
    captions = {
        "maximised": "In pairs: the image made, and the strongest of the data.",
        "diversity": "Answers pushed apart. Mean cosine of the Gram matrices in a row: "
        f"{held or 'one image'}.",
    }
    return [
        Figure(group.backbone, p, captions[p.name], *labels[p.name])
        for p in outcome(group).pictures
        if p.name in captions
    ]


def _by_layer(kinds: Any, layers: Any, channels: Any) -> dict[tuple[str, str], list[str]]:
    """The channels of each row of the grid, those of one kind and layer."""
    rows: dict[tuple[str, str], list[str]] = {}
    for kind, layer, channel in zip(kinds, layers, channels, strict=True):
        rows.setdefault((str(kind), str(layer)), []).append(str(channel))
    return rows


def _named(kind: str, layer: str, channels: Sequence[str]) -> str:
    """``units 0, 2 of conv1``, ``class 3``."""
    word = kind if len(channels) == 1 else MANY[kind]
    return f"{word} {', '.join(channels)}" + (f" of {layer}" if kind != "class" else "")


def _target_rows(group: Group) -> list[list[Any]]:
    a, ids = outcome(group).arrays, outcome(group).samples["id"]
    return [
        [
            group.backbone,
            str(a["kind"][i]),
            str(a["layer"][i]),
            int(a["channel"][i]),
            float(a["reached"][i]),
            float(a["strongest"][i]),
            str(ids[a["row"][i]]),
        ]
        for i in range(len(a["reached"]))
    ]
