"""What the parts of the section share: sentences, a sheet of pictures a backbone, tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.outcome import Outcome, Picture
from robustlab.reporting.invariance.told import Told, leading
from robustlab.reporting.pixels import data_uri, scale_for
from robustlab.reporting.section import Story, render
from robustlab.reporting.svg import RULE, canvas, inline
from robustlab.results import Group

__all__ = ["Table", "Words", "histograms", "tell"]

ROOM = 560  # page pixels of a picture
BESIDE = 290  # of one among several: three stand side by side on a desktop
HIGHEST = 900

Cells = Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Table:
    """A table and its CSV."""

    file: str
    head: Sequence[str]
    rows: Cells


@dataclass(frozen=True)
class Words:
    """What a part says of the groups with one set of parameters."""

    title: str
    sentences: Sequence[str]
    tables: Sequence[Table] = ()
    drawing: Any = None
    drawn: str = ""
    notes: Sequence[str] = field(default=())


def tell(
    story: Story, groups: Sequence[Group], say: Callable[[Sequence[Group]], Words | None]
) -> Told | None:
    """One part of the section: groups of equal parameters side by side, in the order of the run."""
    held = [g for g in groups if g.outcome is not None]
    parts = []
    for label in dict.fromkeys(g.label for g in held):
        here = [g for g in held if g.label == label]
        words = say(here)
        if words is not None:
            parts.append(_part(label, here, words))
    if not parts:
        return None
    body = render("filters_sheet.html", story, parts=parts)
    first = parts[0]
    return Told(first["title"], body, leading(first["title"], first["sentences"], first["names"]))


def _part(label: str, groups: Sequence[Group], words: Words) -> dict[str, Any]:
    told = [(g.backbone, outcome(g)) for g in groups]
    notes = [n for _, one in told for n in one.notes]
    sheets = [
        {"backbone": name, "pictures": [_picture(p, len(one.pictures)) for p in one.pictures]}
        for name, one in told
        if one.pictures
    ]
    return {
        **vars(words),
        "label": label,
        "names": [g.backbone for g in groups],
        "sheets": sheets,
        "notes": list(dict.fromkeys([*words.notes, *notes])),
    }


def outcome(group: Group) -> Outcome:
    """Of a group that is whole."""
    assert group.outcome is not None
    return group.outcome


def _picture(picture: Picture, many: int) -> dict[str, Any]:
    pixels = np.asarray(picture.pixels, dtype=np.uint8)
    height, width = pixels.shape[:2]
    room = ROOM if many == 1 else BESIDE
    scale = min(scale_for(width, room), scale_for(height, HIGHEST if many == 1 else ROOM))
    return {
        "name": picture.name,
        "caption": picture.caption or picture.name,
        "uri": data_uri(pixels),
        "width": width * scale,
        "height": height * scale,
    }


def histograms(
    story: Story, lines: Sequence[tuple[str, NDArray[Any], NDArray[Any]]], prefix: str, alt: str
) -> Any:
    """Shares of weights by size, one line a backbone: (name, counts, edges) of each."""
    with canvas(420, 240) as figure:
        axes = figure.subplots()
        for name, counts, edges in lines:
            style = story.styles[name]
            share = np.asarray(counts, float) / max(1, int(np.sum(counts)))
            density = share / np.diff(edges)
            axes.stairs(density, edges, color=style.colour, lw=2, ls=(0, style.dash or (1, 0)))
        axes.set_xlabel("weight")
        axes.set_ylabel("density")
        axes.grid(axis="y", color=RULE, lw=0.7)
        return inline(figure, prefix, alt)
