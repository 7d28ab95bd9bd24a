"""Every class from one picture: how many can be reached at each eps, and which, as the probe
`reach` told.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.reporting.gallery import class_name
from robustlab.reporting.pixels import data_uri, scale_for
from robustlab.reporting.section import Section, Story, render
from robustlab.statistics import Rate, rate
from robustlab.verdict import code

__all__ = ["PROBE", "Reached", "reach", "reached"]

PROBE = "reach"
CELL, GAP = 6, 1  # pixels of one class in the sheet
WIDE = 1.6  # how much wider than high a sheet is: 40 by 25 of 1,000 classes
ROOM = 560  # page pixels of a sheet
LISTED = 60  # names of classes that were not reached
# Near to far, from cividis; what was not reached, and what the network sees in the clean picture.
COLOURS = ("#00224e", "#35456c", "#666970", "#948e77", "#c8b866", "#fee838")
NEVER, SEEN, UNTRIED, PAPER = "#b9b9b9", "#d55e00", "#f1f1f1", "#ffffff"


@dataclass(frozen=True)
class Reached:
    """One picture and one backbone.

    ``smallest`` int [K] is the place of the smallest budget in ``eps`` that reached the class, -1
    where none did, -2 for the class that is ``seen`` in the clean picture, -3 for what was no
    target; ``probability`` [K] of the class where it was reached.
    """

    backbone: str
    label: str
    image: str
    seen: int
    eps: tuple[str, ...]
    smallest: NDArray[np.int16]
    probability: NDArray[np.float32]
    picture: NDArray[np.uint8] | None

    @property
    def rates(self) -> list[Rate]:
        """At each eps, of all that were targets."""
        others = self.smallest[self.smallest >= -1]
        return [rate((others >= 0) & (others <= place)) for place in range(len(self.eps))]

    @property
    def untried(self) -> int:
        """How many classes were no target."""
        return int((self.smallest == -3).sum())

    @property
    def never(self) -> list[int]:
        """Classes that no budget reached."""
        return [int(one) for one in np.flatnonzero(self.smallest == -1)]


def reached(story: Story) -> list[Reached]:
    """Every picture that was measured, backbone by backbone."""
    found = []
    for group in story.evidence.landed:
        outcome = group.outcome
        if group.plan["probe"] != PROBE or outcome is None:
            continue
        arrays, shown = outcome.arrays, {p.name: p.pixels for p in outcome.pictures}
        for place, row in enumerate(arrays["rows"].tolist()):
            image = str(outcome.samples["id"][row])
            found.append(
                Reached(
                    group.backbone,
                    group.label,
                    image,
                    int(outcome.samples["prediction"][row]),
                    tuple(map(str, arrays["budgets"])),
                    np.asarray(arrays["smallest"][place]),
                    np.asarray(arrays["probability"][place]),
                    shown.get(image),
                )
            )
    return found


def reach(story: Story) -> Section | None:
    """The section; nothing where the probe did not run."""
    found = reached(story)
    if not found:
        return None
    title = _title(story, found)
    body = render("reach.html", story, items=[_item(story, one) for one in found])
    return Section("reach", "Every class from one picture", title, body, (f"{title}.",))


def _title(story: Story, found: Sequence[Reached]) -> str:
    """The first picture at the smallest eps and at the largest."""
    one = found[0]
    told = [(one.eps[place], one.rates[place]) for place in sorted({0, len(one.eps) - 1})]
    parts = [
        f"{round(r.value * r.n)}{'' if place else f' of {_others(one)}'} at eps {e}"
        for place, (e, r) in enumerate(told)
    ]
    seen = class_name(story, one.seen)
    return f"{code(one.backbone)} can be made to see one {seen} as {' and '.join(parts)}"


def _others(one: Reached) -> str:
    """``the 999 other classes``, or ``200 other classes drawn``."""
    count = int((one.smallest >= -1).sum())
    return f"the {count} other classes" if not one.untried else f"{count} other classes drawn"


def _item(story: Story, one: Reached) -> dict[str, Any]:
    sheet = _sheet(one)
    never = [class_name(story, label) for label in one.never]
    scale = scale_for(sheet.shape[1], ROOM)
    return {
        "backbone": one.backbone,
        "label": one.label,
        "image": one.image,
        "seen": class_name(story, one.seen),
        "picture": None if one.picture is None else data_uri(one.picture),
        "sheet": data_uri(sheet),
        "width": sheet.shape[1] * scale,
        "height": sheet.shape[0] * scale,
        "columns": _columns(len(one.smallest)),
        "alt": f"{len(one.smallest)} cells, one a class, coloured by the smallest eps: "
        + ", ".join(
            f"{round(r.value * r.n)} by {e}" for e, r in zip(one.eps, one.rates, strict=True)
        ),
        "legend": [*_legend(one)],
        "rows": [
            [e, round(r.value * r.n), r.n, r] for e, r in zip(one.eps, one.rates, strict=True)
        ],
        "never": never[:LISTED],
        "more": len(never) - len(never[:LISTED]),
        "file": "reach.csv",
        "head": ["class", "name", "smallest eps", "probability"],
        "classes": [
            [label, class_name(story, label), *_told(one, label)]
            for label in range(len(one.smallest))
        ],
    }


def _told(one: Reached, label: int) -> list[Any]:
    place = int(one.smallest[label])
    if place == -2:
        return ["seen in the clean picture", ""]
    if place == -3:
        return ["not tried", ""]
    if place < 0:
        return [f"not up to {one.eps[-1]}", ""]
    return [one.eps[place], round(float(one.probability[label]), 4)]


def _columns(classes: int) -> int:
    return math.ceil(math.sqrt(classes * WIDE))


def colours(budgets: int) -> list[str]:
    """As many steps of the scale as there are budgets, its ends among them."""
    steps = np.linspace(0, len(COLOURS) - 1, budgets) if budgets > 1 else np.zeros(1)
    return [COLOURS[round(float(step))] for step in steps]


def _legend(one: Reached) -> Iterator[tuple[str, str]]:
    for place, (colour, eps) in enumerate(zip(colours(len(one.eps)), one.eps, strict=True)):
        yield colour, f"eps {eps}: {int((one.smallest == place).sum())}"
    if one.never:
        yield NEVER, f"not reached: {len(one.never)}"
    if one.untried:
        yield UNTRIED, f"not tried: {one.untried}"
    yield SEEN, "the class seen in the clean picture"


def _sheet(one: Reached) -> NDArray[np.uint8]:
    """uint8 [H, W, 3]: a cell a class, in the order of their index, row by row."""
    scale = [*colours(len(one.eps)), UNTRIED, SEEN, NEVER]  # -3, -2, -1: from the end
    palette = np.array([_rgb(colour) for colour in scale], np.uint8)
    wide, classes = _columns(len(one.smallest)), len(one.smallest)
    high = math.ceil(classes / wide)
    step = CELL + GAP
    sheet = np.full((high * step - GAP, wide * step - GAP, 3), _rgb(PAPER), np.uint8)
    for label in range(classes):
        top, left = (label // wide) * step, (label % wide) * step
        sheet[top : top + CELL, left : left + CELL] = palette[one.smallest[label]]
    return sheet


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))
