"""What shifts do: heatmaps, one image along the diagonal, consistency beside accuracy, the worst.

Aggregates over images are taken here, from the maps of single images, so that shards and runs add
up. An image's shifts are one cluster: every interval resamples images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from robustlab.reporting.gallery import class_name
from robustlab.reporting.invariance import shift_drawing as drawing
from robustlab.reporting.invariance import shift_pictures as pictures
from robustlab.reporting.invariance.shift_between import between
from robustlab.reporting.invariance.shift_found import Shifts
from robustlab.reporting.invariance.shift_words import (
    error_text,
    number_text,
    rate_text,
    sentences,
    title,
)
from robustlab.reporting.invariance.told import Told
from robustlab.reporting.pixels import as_picture, data_uri, scale_for
from robustlab.reporting.section import Story, render
from robustlab.results import Group
from robustlab.statistics import Rate

__all__ = ["shift"]

ROOM = 128  # page pixels of a picture


def shift(story: Story, groups: Sequence[Group]) -> Told | None:
    """One block for each mode and radius that ran; the first gives the finding."""
    labels = list(dict.fromkeys(g.label for g in groups))
    blocks = [[Shifts(g) for g in groups if g.label == label] for label in labels]
    blocks = [block for block in blocks if block and block[0].n]
    if not blocks:
        return None
    told = [_block(story, found, f"shift-{place}") for place, found in enumerate(blocks)]
    lead = tuple(sentences(story, blocks[0])[: 2 if len(blocks[0]) > 1 else 1])
    return Told(told[0]["title"], render("shift.html", story, blocks=told), lead)


def _block(story: Story, found: Sequence[Shifts], prefix: str) -> dict[str, Any]:
    first = found[0]
    names = [s.backbone for s in found]
    notes = dict.fromkeys(n for s in found if s.group.outcome for n in s.group.outcome.notes)
    heading = title(story, found)
    return {
        "prefix": prefix,
        "label": first.group.label,
        "title": heading,
        "names": names,
        "mode": first.mode,
        "radius": first.radius,
        "draws": first.draws,
        "n": first.n,
        "shifts": (2 * first.radius + 1) ** 2,
        "sentences": sentences(story, found),
        "notes": list(notes),
        "maps": _maps(story, found),
        "line": _along(story, found, prefix),
        "between": between(story, found),
        "scatter": _scatter(story, found, prefix),
        "bars": _bars(story, found, prefix),
        "radii": _by_radius(story, found, prefix),
        "table": [_row(s, radius) for radius in reversed(first.radii) for s in found],
    }


def _maps(story: Story, found: Sequence[Shifts]) -> dict[str, Any]:
    """Accuracy at each shift on one scale for all backbones, with what a hover needs."""
    accuracy = [s.accuracy for s in found]
    low, high = min(float(a.min()) for a in accuracy), max(float(a.max()) for a in accuracy)
    if high - low < 0.01:
        low = max(0.0, high - 0.01)
    example, radius = pictures.choose_example(found), found[0].radius
    grid = range(-radius, radius + 1)
    spoken: list[int] = sorted({int(k) for s in found for k in np.unique(_said(s, example))})
    rows = [
        [s.backbone, dy, dx, round(float(a[dy + radius, dx + radius]), 6)]
        for s, a in zip(found, accuracy, strict=True)
        for dy in grid
        for dx in grid
    ]
    return {
        "low": f"{100 * low:.1f} %",
        "high": f"{100 * high:.1f} %",
        "bar": pictures.colour_bar(),
        "size": 2 * radius + 1,
        "classes": [class_name(story, k) for k in spoken],
        "items": [
            {
                "backbone": s.backbone,
                "uri": pictures.heatmap(a, low, high),
                "period": s.period,
                "stride": s.stride,
                "lines": _lines(s.period or s.stride, radius),
                "worst": pictures.words(*_least(a)),
                "least": f"{100 * a.min():.1f} %",
                "mean": f"{100 * a.mean():.1f} %",
                "std": f"{100 * a.std():.1f}",
                "values": " ".join(f"{100 * v:.1f}" for v in a.ravel()),
                "said": " ".join(str(spoken.index(int(k))) for k in _said(s, example).ravel()),
            }
            for s, a in zip(found, accuracy, strict=True)
        ],
        "example": _example(story, found[0], example),
        "csv": [["backbone", "down", "right", "accuracy"], *rows],
    }


def _said(one: Shifts, example: pictures.Example | None) -> Any:
    row = example.row if example is not None else 0
    return one.prediction[row]


def _least(accuracy: Any) -> tuple[int, int]:
    middle = len(accuracy) // 2
    dy, dx = np.unravel_index(int(np.argmin(accuracy)), accuracy.shape)
    return int(dy) - middle, int(dx) - middle


def _lines(period: int, radius: int) -> list[int]:
    """Edges, in cells from the left, where a period begins; none where it is one pixel or wider
    than the map.
    """
    if not 1 < period <= radius:
        return []
    return [d + radius for d in range(-radius, radius + 1) if d % period == 0 and d > -radius]


def _example(story: Story, one: Shifts, example: pictures.Example | None) -> dict[str, Any] | None:
    if example is None:
        return None
    height, width = (side - 2 * example.radius for side in example.picture.shape[1:])
    return {
        "uri": data_uri(as_picture(example.picture)),
        "wide": example.picture.shape[2],
        "height": height,
        "width": width,
        "scale": scale_for(width, ROOM),
        "id": str(one.column("id")[example.row]),
        "true": class_name(story, int(one.labels[example.row])),
    }


def _along(story: Story, found: Sequence[Shifts], prefix: str) -> dict[str, Any] | None:
    example = pictures.choose_example(found)
    if example is None:
        return None
    turned = pictures.flips(story, found, example)
    lines = [(s.backbone, *pictures.diagonal(s, example.row)[:2]) for s in found]
    marks = [i["mark"] for i in turned["items"]] if turned else []
    alt = f"p(true class) of one image against its diagonal shift, mode {found[0].mode}."
    draw = drawing.both(
        lambda width, p: drawing.along(story, lines, marks, width, p, alt), f"{prefix}-line"
    )
    rows = [
        [name, float(x), round(float(y), 5)]
        for name, xs, ys in lines
        for x, y in zip(xs.tolist(), ys.tolist(), strict=True)
    ]
    return {
        "drawing": draw,
        "flips": turned,
        "example": _example(story, found[0], example),
        "csv": [["backbone", "shift", "p_true"], *rows],
    }


def _scatter(story: Story, found: Sequence[Shifts], prefix: str) -> dict[str, Any]:
    alt = "; ".join(
        f"{s.backbone}: accuracy {s.clean}, consistency {rate_text(s.consistency(s.radius))}, "
        f"{error_text(s)}"
        for s in found
    )
    draw = drawing.both(
        lambda width, p: drawing.scatter(story, found, width, p, alt), f"{prefix}-scatter"
    )
    rows = [
        [
            *(s.backbone, *_triple(s.clean), *_triple(s.consistency(s.radius))),
            *(*_triple(s.error("logits", s.radius)), *_triple(s.unrelated("logits"))),
        ]
        for s in found
    ]
    measured = ("accuracy", "consistency", "logit error", "unrelated logit error")
    head = ["backbone", *(word for name in measured for word in (name, "low", "high"))]
    errors = [(s.backbone, rate_text(s.consistency(s.radius)), error_text(s)) for s in found]
    return {"drawing": draw, "head": head, "rows": rows, "errors": errors}


def _triple(rate: Rate) -> list[float | str]:
    return ["" if math.isnan(v) else v for v in (rate.value, rate.low, rate.high)]


def _bars(story: Story, found: Sequence[Shifts], prefix: str) -> dict[str, Any]:
    names = [s.backbone for s in found]
    panels = [
        ("P(top-1 changes), 1 px", [s.change(s.radius, "diagonal") for s in found]),
        (f"right at the worst of {found[0].draws}", [s.worst_of_k(s.radius) for s in found]),
        ("right at every shift", [s.worst(s.radius) for s in found]),
    ]
    alt = "; ".join(
        f"{title}: {', '.join(f'{n} {rate_text(r)}' for n, r in zip(names, rates, strict=True))}"
        for title, rates in panels
    )
    draw = drawing.both(
        lambda width, p: drawing.bars(story, names, panels, width, p, alt), f"{prefix}-bars"
    )
    rows = [
        [title, name, *_triple(rate)]
        for title, rates in panels
        for name, rate in zip(names, rates, strict=True)
    ]
    return {"drawing": draw, "head": ["measure", "backbone", "value", "low", "high"], "rows": rows}


def _by_radius(story: Story, found: Sequence[Shifts], prefix: str) -> dict[str, Any]:
    alt = f"Share of images right at every shift, against the radius, mode {found[0].mode}."
    draw = drawing.both(
        lambda width, p: drawing.by_radius(story, found, width, p, alt), f"{prefix}-radii"
    )
    rows = [
        [s.backbone, radius, *_triple(rate)]
        for s in found
        for radius, rate in [(0, s.clean), *((r, s.worst(r)) for r in s.radii)]
    ]
    return {"drawing": draw, "head": ["backbone", "radius", "right", "low", "high"], "rows": rows}


def _row(one: Shifts, radius: int) -> dict[str, Any]:
    """One backbone at one radius, as the table writes it."""
    return {
        "backbone": one.backbone,
        "radius": radius,
        "clean": rate_text(one.clean),
        "mean": rate_text(one.mean(radius)),
        "of_k": rate_text(one.worst_of_k(radius)),
        "worst": rate_text(one.worst(radius)),
        "consistency": rate_text(one.consistency(radius)),
        "changes": [rate_text(one.change(radius, axis)) for axis in ("x", "y", "diagonal")],
        "dp": number_text(one.moved(radius, "diagonal")),
        "errors": [
            number_text(rate)
            for name in ("logits", "embedding")
            for rate in (one.error(name, radius), one.unrelated(name))
        ],
    }
