"""One line for each picture of a folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from robustlab.fooled import Fooled

__all__ = ["COLUMNS", "index_of"]

COLUMNS = (
    *("picture", "folder", "fooled", "before", "before_probability", "after"),
    *("after_probability", "target", "eps", "linf", "smallest_linf", "smallest_l2"),
)


def index_of(found: Iterable[Fooled]) -> str:
    """A CSV table: norms in grey levels; empty where there is nothing to tell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for one in found:
        least = one.smallest
        (_, before, first), (_, after, last) = one.before.top[0], one.after.top[0]
        row = (
            *(one.picture, one.facts.get("folder", ""), one.succeeded, before, f"{first:.6f}"),
            *(after, f"{last:.6f}", one.target or "", one.eps, one.size.linf),
            *(("", "") if least is None else (least.linf, f"{least.l2:.2f}")),
        )
        writer.writerow(dict(zip(COLUMNS, row, strict=True)))
    return text.getvalue()
