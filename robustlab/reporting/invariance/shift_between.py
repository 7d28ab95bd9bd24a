"""Shifts by parts of a pixel: what changes between the whole ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from robustlab import statistics
from robustlab.reporting.invariance.shift_found import Shifts
from robustlab.reporting.section import Story
from robustlab.verdict import code, plural

__all__ = ["between"]

_STEPS = {2: "half pixel", 3: "third of a pixel", 4: "quarter of a pixel"}
_LINES = {"x": "from left to right", "y": "from top to bottom", "diagonal": "along the diagonal"}


def between(story: Story, found: Sequence[Shifts]) -> dict[str, Any] | None:
    """A row a backbone and the finding; None where no line of parts of a pixel was measured."""
    measured = [s for s in found if s.parts > 1]
    if not measured:
        return None
    first = measured[0]
    lines = [(s, s.along_the_line()) for s in measured]
    step = f"every {_STEPS.get(first.parts, f'1/{first.parts} of a pixel')}"
    rows = [
        {
            "backbone": s.backbone,
            "whole": str(statistics.rate(line.whole)),
            "all": str(statistics.rate(line.all)),
            "only": int((line.whole & ~line.all).sum()),
            "right": str(statistics.rate(line.right)),
        }
        for s, line in lines
    ]
    head = ["backbone", "id", "same_at_whole_pixels", "same_everywhere", "right_everywhere"]
    return {
        "rows": rows,
        "step": step,
        "where": _LINES[first.axis],
        "how": "band-limited" if first.mode == "circular" else "bilinear",
        "sentence": _sentence(story, lines, step),
        "head": head,
        "csv": [
            [s.backbone, name, *map(int, three)]
            for s, line in lines
            for name, *three in zip(
                s.column("id").tolist(), line.whole, line.all, line.right, strict=True
            )
        ],
    }


def _sentence(story: Story, lines: Sequence[tuple[Shifts, Any]], step: str) -> str:
    """Of the backbone whose answers hold best at whole pixels, what is lost between them."""
    one, line = max(lines, key=lambda pair: (int(pair[1].whole.sum()), int(pair[1].all.sum())))
    images = plural(one.n, story.evidence.noun)
    whole, everywhere = int(line.whole.sum()), int(line.all.sum())
    start = (
        f"Of {images}, {code(one.backbone)} keeps its answer on {whole} at every whole pixel "
        f"{_LINES[one.axis]} up to {one.radius}"
    )
    if whole == everywhere:
        return f"{start}, and on the same ones at {step}."
    return f"{start}, and on {everywhere} at {step}: {whole - everywhere} change between them."
