"""What the parts about units and attribution share: sentences, grids of pictures, a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robustlab.outcome import Outcome, Picture
from robustlab.reporting.invariance.told import Told, leading
from robustlab.reporting.pixels import data_uri, scale_for
from robustlab.reporting.section import Story, render
from robustlab.results import Group, measure
from robustlab.statistics import Rate

__all__ = ["Figure", "Words", "figure", "looks", "mean", "outcome"]

ROOM, HIGHEST = 620, 900  # page pixels of a grid


@dataclass(frozen=True)
class Figure:
    """One grid of one backbone, and how it is read.

    ``over`` names its columns and ``beside`` its rows, all of one size each.
    """

    backbone: str
    picture: Picture
    caption: str
    over: Sequence[str] = ()
    beside: Sequence[str] = ()
    legend: Sequence[tuple[str, str]] = ()  # colour as #rrggbb, and what it stands for


@dataclass(frozen=True)
class Words:
    """What a part says of the groups with one set of parameters."""

    title: str
    sentences: Sequence[str]
    figures: Sequence[Figure]
    file: str
    head: Sequence[str]
    rows: Sequence[Sequence[Any]]


def looks(
    story: Story,
    groups: Sequence[Group],
    needed: str,
    say: Callable[[Sequence[Group]], Words],
) -> Told | None:
    """One part: groups of equal parameters side by side; none where no group has ``needed``."""
    held = [g for g in groups if g.outcome is not None and needed in g.outcome.arrays]
    parts: list[dict[str, Any]] = []
    for label in dict.fromkeys(g.label for g in held):
        here = [g for g in held if g.label == label]
        words = say(here)
        notes = [(g.backbone, n) for g in here for n in outcome(g).notes]
        figures = [figure(one) for one in words.figures]
        parts.append({**vars(words), "label": label, "figures": figures, "notes": _shared(notes)})
    if not parts:
        return None
    body = render("looks.html", story, parts=parts)
    first, names = parts[0], [g.backbone for g in held if g.label == parts[0]["label"]]
    return Told(first["title"], body, leading(first["title"], first["sentences"], names))


def outcome(group: Group) -> Outcome:
    """Of a group that is whole."""
    assert group.outcome is not None
    return group.outcome


def mean(group: Group, metric: str) -> Rate:
    """A number of the summary with its interval over images."""
    return measure(outcome(group), outcome(group).metrics[metric])


def figure(one: Figure) -> dict[str, Any]:
    """The grid as the template needs it."""
    pixels = np.asarray(one.picture.pixels, np.uint8)
    height, width = pixels.shape[:2]
    scale = min(scale_for(width, ROOM), scale_for(height, HIGHEST))
    return {
        "backbone": one.backbone,
        "alt": f"{one.picture.name} of {one.backbone}: {one.picture.caption}",
        "uri": data_uri(pixels),
        "width": width * scale,
        "height": height * scale,
        "caption": one.caption,
        "over": one.over,
        "beside": one.beside,
        "legend": one.legend,
    }


def _shared(notes: Sequence[tuple[str, str]]) -> list[str]:
    """Every sentence once, the backbone in front where not all say it."""
    names = list(dict.fromkeys(name for name, _ in notes))
    found = []
    for text in dict.fromkeys(text for _, text in notes):
        saying = [name for name, said in notes if said == text]
        alone = len(saying) < len(names) and not any(text.startswith(n) for n in names)
        found.append(f"{', '.join(saying)}: {text}" if alone else text)
    return found
