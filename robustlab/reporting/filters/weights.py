"""Kernels: the first layer's filters, and which filters of any layer do nothing of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from robustlab.reporting.filters.sheet import Table, Words, histograms, outcome, tell
from robustlab.reporting.invariance.told import Told
from robustlab.reporting.section import Story
from robustlab.results import Group
from robustlab.verdict import code, plural

__all__ = ["first_layer", "kernels"]

NAMED = 5  # filters that a sentence names


def first_layer(story: Story, groups: Sequence[Group]) -> Told | None:
    """The part of the probe ``first_layer``."""

    def say(here: Sequence[Group]) -> Words:
        lines = [
            (g.backbone, outcome(g).arrays["counts"], outcome(g).arrays["edges"]) for g in here
        ]
        return Words(
            _first_title(here),
            [sentence(g) for g in here],
            [_filters_table(here)],
            histograms(story, lines, "first-layer", "Histogram of first-layer weights"),
            "The weights of the first layer: how densely each value is taken.",
        )

    return tell(story, groups, say)


def _first_title(here: Sequence[Group]) -> str:
    """Filters that do nothing of their own; where every one does, how fine they are."""
    idle = [(g, _idle(g)) for g in here]
    spoiled = [
        f"{count} of {len(outcome(g).arrays['norm'])} of {code(g.backbone)}"
        for g, count in idle
        if count
    ]
    if spoiled:
        more = f" and {len(spoiled) - 3} networks more" if len(spoiled) > 3 else ""
        return (
            f"First-layer filters that are dead or another's double: {', '.join(spoiled[:3])}{more}"
        )
    ranked = sorted(here, key=_fineness)
    ends = ranked if len(ranked) < 3 else [ranked[0], ranked[-1]]
    told = [f"{code(g.backbone)} ({_fineness(g):.2f} cycles a pixel)" for g in ends]
    if len(told) == 1:
        return f"No first-layer filter of {told[0]} is dead or another's double"
    return f"First-layer filters are coarsest in {told[0]} and finest in {told[1]}"


def _fineness(group: Group) -> float:
    """The median peak frequency."""
    found = outcome(group).arrays["frequency"]
    held = found[np.isfinite(found)]
    return float(np.median(held)) if len(held) else 0.0


def _idle(group: Group) -> int:
    a = outcome(group).arrays
    return int(a["dead"].sum()) + _spare(a["pairs"])


def _spare(pairs: Any) -> int:
    """Filters that another one of lower number stands for."""
    return len(set(np.asarray(pairs).reshape(-1, 2)[:, 1].tolist()))


def sentence(group: Group) -> str:
    """What the first layer of one backbone is like."""
    a = outcome(group).arrays
    dead, gone = np.flatnonzero(a["dead"]).tolist(), np.flatnonzero(a["channel_dead"]).tolist()
    said = [f"{code(group.backbone)}, {code(str(a['layer']))}: {plural(len(a['norm']), 'filters')}"]
    said.append(f"dead {_first(dead)}" if dead else "none dead")
    said.append(f"alike {_pairs(a['pairs'], a['cosine'])}" if len(a["pairs"]) else "no two alike")
    if gone:
        said.append(f"input channels without weight {_first(gone)}")
    frequency = a["frequency"][np.isfinite(a["frequency"])]
    if len(frequency):
        said.append(f"median peak frequency {np.median(frequency):.2f} cycles a pixel")
    if max(a["stride"].tolist()) > 1:
        stride = "×".join(map(str, a["stride"].tolist()))
        above = np.average(np.nan_to_num(a["above_nyquist"]), weights=np.square(a["norm"]) + 1e-300)
        said.append(
            f"{100 * above:.0f} % of the filters' energy lies above what a stride of {stride} "
            "can carry and folds down"
        )
    coloured = int(np.isfinite(a["hue"]).sum())
    if np.asarray(a["weight"]).shape[1] == 3:
        said.append(f"{coloured} see colour, the others grey")
    return "; ".join(said) + "."


def _first(found: Sequence[Any]) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return f"{', '.join(map(str, found[:NAMED]))}{more}"


def _pairs(pairs: Any, cosine: Any) -> str:
    told = [
        f"{i} and {j} (cosine {c:.3f})"
        for (i, j), c in zip(pairs.tolist()[:NAMED], cosine.tolist(), strict=False)
    ]
    more = f" and {len(pairs) - NAMED} pairs more" if len(pairs) > NAMED else ""
    return ", ".join(told) + more


_COLUMNS = ("norm", "frequency", "orientation", "coherence", "above_nyquist", "colour", "hue")


def _filters_table(here: Sequence[Group]) -> Table:
    """A row a filter, in the order of the grid."""
    rows = []
    for g in here:
        a = outcome(g).arrays
        for place in a["order"].tolist():
            numbers = [round(float(a[name][place]), 4) for name in _COLUMNS]
            dead = "yes" if a["dead"][place] else ""
            blank = ["" if np.isnan(v) else v for v in numbers]
            rows.append([g.backbone, place, *blank, dead])
    head = ["backbone", "filter", *_COLUMNS, "dead"]
    return Table("first-layer.csv", head, rows)


def kernels(story: Story, groups: Sequence[Group]) -> Told | None:
    """The part of the probe ``kernels``."""

    def say(here: Sequence[Group]) -> Words:
        return Words(
            _kernels_title(here), [_defects(g) for g in here], [_layers_table(here)], *_drawn(here)
        )

    def _drawn(here: Sequence[Group]) -> tuple[Any, str]:
        lines = []
        for g in here:
            a = outcome(g).arrays
            lines.append((g.backbone, a["counts"][-1], a["edges"][-1]))
        names = ", ".join(dict.fromkeys(str(outcome(g).arrays["layer"][-1]) for g in here))
        drawing = histograms(story, lines, "kernels", "Histogram of the last convolution's weights")
        return drawing, f"The weights of the last convolution ({names}); all layers in the table."

    return tell(story, groups, say)


def _kernels_title(here: Sequence[Group]) -> str:
    parts = []
    for g in here:
        a = outcome(g).arrays
        dead, gone, alike = (int(a[k].sum()) for k in ("dead", "channel_dead", "pairs"))
        if dead + gone + alike:
            parts.append(
                f"{code(g.backbone)} has {plural(dead, 'dead filters')}, "
                f"{plural(gone, 'empty input channels')} and {plural(alike, 'pairs')} alike"
            )
    if parts:
        more = f", and {len(parts) - 3} networks more have such" if len(parts) > 3 else ""
        return "; ".join(parts[:3]) + more
    whose = code(here[0].backbone) if len(here) == 1 else f"any of {len(here)} networks"
    return f"No dead filter, no empty input channel and no two filters alike in {whose}"


def _defects(group: Group) -> str:
    """Every planted or grown defect of one backbone by name, as far as a sentence holds."""
    a = outcome(group).arrays
    names = [str(n) for n in a["layer"]]
    dead = [f"{code(names[i])} {f}" for i, f in a["dead_filters"].tolist()]
    gone = [f"{code(names[i])} {c}" for i, c in a["dead_channels"].tolist()]
    alike = [f"{code(names[i])} {f} and {g}" for i, f, g in a["alike"].tolist()]
    said = [
        f"{what}: {_first(found)}"
        for what, found in (
            ("dead filters", dead),
            ("input channels without weight", gone),
            ("filters alike", alike),
        )
        if found
    ]
    ends = "; ".join(said) if said else "no dead filter, no empty input channel, no two alike"
    return f"{code(group.backbone)}, {plural(len(names), 'convolutions')}: {ends}."


def _layers_table(here: Sequence[Group]) -> Table:
    rows = []
    for g in here:
        a = outcome(g).arrays
        for i, name in enumerate(a["layer"]):
            above, frequency = (float(a[k][i]) for k in ("above_nyquist", "frequency"))
            rows.append(
                [
                    g.backbone,
                    str(name),
                    "×".join(map(str, a["kernel"][i].tolist())),
                    "×".join(map(str, a["stride"][i].tolist())),
                    *(int(a[k][i]) for k in ("filters", "channels", "dead", "channel_dead")),
                    int(a["pairs"][i]),
                    "" if np.isnan(above) else round(above, 4),
                    "" if np.isnan(frequency) else round(frequency, 4),
                ]
            )
    head = ["backbone", "layer", "kernel", "stride", "filters", "channels", "dead"]
    head += ["empty channels", "pairs alike", "energy above Nyquist", "mean frequency"]
    return Table("kernels.csv", head, rows)
