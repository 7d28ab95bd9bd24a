"""The smallest eps that fools each picture, as the pixels of a PNG: one table a backbone.

For sets of many classes and few pictures, where each picture is worth a row. Its thumbnails are
one sheet for the whole page, of which each row shows a part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.evidence import column, eps_of, is_control
from robustlab.reporting.gallery import class_name
from robustlab.reporting.pixels import as_picture, data_uri
from robustlab.reporting.section import Section, Story, render
from robustlab.results import Group
from robustlab.verdict import code, norm_name, under

__all__ = ["Entry", "Row", "fragile", "rows"]

MOST = 200  # pictures, beyond which a table of each is no help
SIDE, COLUMNS = 40, 12  # pixels of a thumbnail; thumbnails in a row of the sheet


@dataclass(frozen=True)
class Entry:
    """What one attack needs for one picture: a text and what it is sorted by."""

    text: str
    key: float


@dataclass(frozen=True)
class Row:
    """One picture: its place in the run, id, class and what each attack needs."""

    place: int
    image: str
    label: int
    entries: tuple[Entry, ...]

    @property
    def key(self) -> float:
        """The smallest eps of all."""
        return min(entry.key for entry in self.entries)


def groups_of(story: Story, backbone: str, norm: str | None) -> list[Group]:
    """Attacks of one norm that keep top-5: those on many classes; controls left out."""
    return [
        g
        for g in story.evidence.landed
        if g.backbone == backbone
        and g.plan["kind"] == "attack"
        and g.plan["norm"] == norm
        and not is_control(g)
        and g.outcome is not None
        and "clean_top5" in g.outcome.samples
    ]


def rows(groups: Sequence[Group]) -> list[Row]:
    """A row a picture, the most fragile first; wrong unattacked last."""
    assert groups[0].outcome is not None
    samples = groups[0].outcome.samples
    told = [_needed(group) for group in groups]
    found = [
        Row(place, str(samples["id"][place]), int(samples["label"][place]), tuple(entries))
        for place, entries in enumerate(zip(*told, strict=True))
    ]
    return sorted(found, key=lambda r: (_wrong(r), r.key, sum(e.key for e in r.entries), r.image))


def _wrong(row: Row) -> bool:
    return any(entry.text == WRONG for entry in row.entries)


WRONG = "wrong unattacked"


def _needed(group: Group) -> list[Entry]:
    """Of each picture, the smallest eps at which the attack was verified on 8-bit pixels."""
    assert group.outcome is not None
    budgets = eps_of(group)
    never = Entry(f"not up to {budgets[-1].text}", math.inf)
    right = column(group, "clean_correct")
    found = [never] * len(right)
    for e in reversed(budgets):
        for place in np.flatnonzero(column(group, f"verified_8bit[eps={e.text}]")).tolist():
            found[place] = Entry(e.text, e.value)
    if group.plan["targeted"]:
        targets = np.asarray(group.outcome.samples["target"])
        same = targets == np.asarray(group.outcome.samples["label"])
        return [
            Entry("is the target", math.inf) if s else f for s, f in zip(same, found, strict=True)
        ]
    return [f if r else Entry(WRONG, 0.0) for r, f in zip(right, found, strict=True)]


def fragile(story: Story) -> Section | None:
    """The section; nothing for few classes, or for more pictures than a table can show."""
    evidence = story.evidence
    if not evidence.norms or evidence.n > MOST:
        return None
    norm = story.verdict.norm
    named = [(name, groups_of(story, name, norm)) for name in evidence.backbones]
    held = [(name, groups) for name, groups in named if groups]
    if not held:
        return None
    sheet, places = _sheet([g for _, groups in held for g in groups])
    tables = [_table(story, name, groups, places) for name, groups in held]
    body = render(
        "fragile.html",
        story,
        tables=tables,
        sheet=None if sheet is None else data_uri(sheet),
        side=SIDE,
        width=0 if sheet is None else sheet.shape[1],
        height=0 if sheet is None else sheet.shape[0],
        norm=norm_name(norm),
    )
    return Section("fragile", "Picture by picture", _title(story, held), body)


def _table(
    story: Story, name: str, groups: Sequence[Group], places: dict[int, tuple[int, int]]
) -> dict[str, Any]:
    found = rows(groups)
    labels = [g.label for g in groups]
    told = [
        {
            "image": row.image,
            "true": class_name(story, row.label),
            "entries": row.entries,
            "thumb": places.get(row.place),
        }
        for row in found
    ]
    data = [[r.image, class_name(story, r.label), *(e.text for e in r.entries)] for r in found]
    return {"backbone": name, "attacks": labels, "rows": told, "data": data}


def _title(story: Story, held: Sequence[tuple[str, list[Group]]]) -> str:
    """At which eps half of the pictures that were right have fallen, as PNGs, and to whom."""
    told = []
    for name, groups in held:
        untargeted = [g for g in groups if not g.plan["targeted"]]
        right = [r for r in rows(untargeted) if not _wrong(r)] if untargeted else []
        if not right:
            continue
        keys = sorted(r.key for r in right)
        middle = keys[(len(keys) - 1) // 2]
        texts = {e.key: e.text for r in right for e in r.entries}
        where = f"by eps {texts[middle]}" if math.isfinite(middle) else "nowhere tested"
        told.append(f"{where} for {code(name)}")
    if not told:
        return f"What each picture needs {under(story.verdict.norm)}"
    return f"As PNGs, half of the pictures are misread {', '.join(told)}"


def _sheet(
    groups: Sequence[Group],
) -> tuple[NDArray[np.uint8] | None, dict[int, tuple[int, int]]]:
    """Thumbnails [H, W, 3] and the left upper corner of each picture's, by its place in the run."""
    clean: dict[int, NDArray[Any]] = {}
    for group in groups:
        assert group.outcome is not None
        arrays = group.outcome.arrays
        for index, place in enumerate(np.asarray(arrays.get("picture_row", ())).tolist()):
            clean.setdefault(int(place), arrays["clean"][index])
    if not clean:
        return None, {}
    high = math.ceil(len(clean) / COLUMNS)
    sheet = np.full((high * SIDE, min(COLUMNS, len(clean)) * SIDE, 3), 255, np.uint8)
    places = {}
    for number, (place, pixels) in enumerate(sorted(clean.items())):
        x, y = (number % COLUMNS) * SIDE, (number // COLUMNS) * SIDE
        sheet[y : y + SIDE, x : x + SIDE] = _thumb(pixels)
        places[place] = (x, y)
    return sheet, places


def _thumb(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """uint8 [SIDE, SIDE, 3] of uint8 [C, H, W]."""
    from PIL import Image

    image = Image.fromarray(as_picture(pixels)).convert("RGB")
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.LANCZOS))
