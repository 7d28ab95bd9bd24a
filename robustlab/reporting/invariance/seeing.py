"""Do CNNs see as people do? What is left without shape, without detail, without texture."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from robustlab import statistics
from robustlab.outcome import Metric
from robustlab.reporting.invariance.severity_drawing import Line, draw, numbers, tiles
from robustlab.reporting.invariance.told import Told
from robustlab.reporting.section import Story, render
from robustlab.results import Group, measure
from robustlab.statistics import Rate
from robustlab.verdict import code, plural

__all__ = ["seeing"]

_NAME = re.compile(r"^accuracy\[(?P<kind>\w+)=(?P<value>[^\]]+)\]$")
# Kind -> heading, what stands on the axis, how a value is read in a sentence.
KINDS = {
    "patch_shuffle": ("Shuffled patches", "patches a side", "cut into {0} x {0} shuffled patches"),
    "low_pass": (
        "Low-pass images",
        "frequencies kept, up to a share of Nyquist",
        "with frequencies up to {0} of Nyquist alone",
    ),
    "high_pass": (
        "High-pass images",
        "frequencies taken away, up to a share of Nyquist",
        "without the frequencies up to {0} of Nyquist",
    ),
    "silhouette": ("Silhouettes", "kind of silhouette", "as {0} silhouettes"),
}
AS_IT_IS = "image"


def seeing(story: Story, groups: Sequence[Group]) -> Told | None:
    """The part of the probe ``seeing``; nothing where no group holds its numbers."""
    held = [(g, rates) for g in groups if (rates := _rates(g))]
    if not held:
        return None
    kinds = [kind for kind in KINDS if any(kind in rates for _, rates in held)]
    figures = [_figure(story, kind, held) for kind in kinds]
    body = render(
        "seeing.html",
        story,
        figures=figures,
        names=list(dict.fromkeys(g.backbone for g, _ in held)),
        chance=1 / max(1, len(story.evidence.about["data"]["classes"])),
        told=_told(held),
        notes=list(dict.fromkeys(n for g, _ in held if g.outcome for n in g.outcome.notes)),
    )
    return Told(_title(story, held), body)


Rates = dict[str, dict[str, Rate]]


def _rates(group: Group) -> Rates:
    """Kind -> value -> accuracy, the image itself first."""
    assert group.outcome is not None
    found: Rates = {}
    if "clean_correct" not in group.outcome.samples:
        return found
    for metric in group.outcome.metrics:
        named = _NAME.match(metric)
        if named is not None and named["kind"] in KINDS:
            among = group.outcome.metrics[metric].among  # silhouettes: images that have one
            clean = measure(group.outcome, Metric("clean_correct", among=among))
            rates = found.setdefault(named["kind"], {AS_IT_IS: clean})
            rates[named["value"]] = group.rate(metric)
    return found


def _title(story: Story, held: Sequence[tuple[Group, Rates]]) -> str:
    """The first value of each kind that people mostly cope with, for the first backbone."""
    group, rates = held[0]
    clean = next(iter(rates.values()))[AS_IT_IS]
    parts = []
    for kind, found in rates.items():
        value, rate = list(found.items())[1]
        parts.append(f"{rate if rate.n else 'not measured'} {KINDS[kind][2].format(value)}")
    shown = parts if len(parts) < 3 else [parts[0], parts[-1]]
    images = plural(clean.n, story.evidence.noun)
    return f"{code(group.backbone)} is right on {clean} of {images}, on {' and on '.join(shown)}"


def _told(held: Sequence[tuple[Group, Rates]]) -> tuple[int, int]:
    """In how many images the background could be told."""
    outcome = held[0][0].outcome
    assert outcome is not None
    told = np.asarray(outcome.samples.get("background_told", []), dtype=bool)
    return int(told.sum()), len(told)


def _figure(story: Story, kind: str, held: Sequence[tuple[Group, Rates]]) -> dict[str, Any]:
    heading, unit, _ = KINDS[kind]
    mine = [(g, rates[kind]) for g, rates in held if kind in rates]
    names = list(dict.fromkeys(value for _, found in mine for value in found))
    nothing = statistics.wilson(0, 0)
    lines = [Line(g.backbone, tuple(found.get(v, nothing) for v in names)) for g, found in mine]
    alt = f"Chart of accuracy on {heading.lower()}. " + "; ".join(
        f"{g.backbone}: " + ", ".join(f"{v} {rate}" for v, rate in found.items())
        for g, found in mine
    )
    outcome = mine[0][0].outcome
    assert outcome is not None
    picture = next((p for p in outcome.pictures if p.name == kind), None)
    own = list(mine[0][1])[1:]
    shown, reduced = tiles(picture.pixels, len(own)) if picture is not None else ([], False)
    chance = 1 / max(1, len(story.evidence.about["data"]["classes"]))
    return {
        "kind": kind,
        "name": heading,
        "drawing": draw(
            story,
            lines,
            list(range(len(names))),
            names,
            unit,
            f"seeing-{kind}",
            alt,
            joined=False,
            chance=chance,
        ),
        "tiles": list(zip(shown, own, strict=True)) if shown else [],
        "reduced": reduced,
        "image": picture.caption if picture is not None else "",
        "file": f"seeing-{kind}.csv",
        "head": ["backbone", "version", "accuracy", "low", "high", "n"],
        "data": [[g.backbone, v, *numbers(r)] for g, found in mine for v, r in found.items()],
    }
