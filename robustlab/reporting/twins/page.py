"""The page of twins: one HTML file beside the runs of their seeds.

Says what may be said of a kind, from trainings; what may be said of the weights of one training
stands on that seed's page, to which it links.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from robustlab import atomic
from robustlab.kinds import Key, Kinds
from robustlab.reporting.frame import frame
from robustlab.reporting.palette import styles
from robustlab.reporting.section import environment
from robustlab.reporting.twins import drawing, words

__all__ = ["write_twins_page"]


def write_twins_page(kinds: Kinds) -> Path:
    """Write ``twins.html`` into the folder of the twins, whole or not at all; returns its path."""
    path = kinds.folder / "twins.html"
    atomic.write(path, _page(kinds).encode("utf-8", "replace"))
    return path


def _page(kinds: Kinds) -> str:
    look, keys = styles(kinds.twins), words.headlines(kinds)
    page = (
        environment()
        .get_template("twins.html")
        .render(
            kinds=kinds,
            story=SimpleNamespace(styles=look),
            title=words.title(kinds),
            lead=_lead(kinds, keys),
            caveats=words.caveats(kinds),
            figures=[
                {
                    "key": key,
                    "drawing": drawing.rows(kinds, look, key, place),
                    "table": _compared(kinds, key),
                    **_data(kinds, key),
                }
                for place, key in enumerate(keys)
            ],
            both=_both(kinds, look, keys),
            rest=[(key, _compared(kinds, key)) for key in kinds.values if key not in keys],
            recipes=[(twin, _lines(kinds, twin)) for twin in kinds.twins],
            **frame(),
        )
    )
    return page + "\n"


def _lead(kinds: Kinds, keys: list[Key]) -> list[str]:
    """The strongest difference of every headline number, where claims may be made."""
    if not kinds.enough:
        return []
    found = []
    for key in keys:
        twin = max(kinds.twins[1:], key=lambda one: abs(kinds.difference(key, one).value))
        found.append(words.sentence(kinds, key, twin) + ".")
    return found


def _both(kinds: Kinds, look: Any, keys: list[Key]) -> dict[str, Any] | None:
    """Shift robustness beside adversarial robustness, where both were measured."""
    shift = [key for key in keys if key.probe == "shift"]
    robust = [key for key in keys if key.metric == "robust_accuracy"]
    if not shift or not robust:
        return None
    return {
        "across": shift[-1],
        "up": robust[0],
        "drawing": drawing.scatter(kinds, look, shift[-1], robust[0]),
    }


def _compared(kinds: Kinds, key: Key) -> list[dict[str, str]]:
    """A row a twin: its mean and its difference from the reference."""
    rate = words.is_rate(kinds, key)
    return [
        {
            "twin": twin,
            "mean": words.mean_text(kinds.mean(key, twin), rate),
            "difference": ""
            if twin == kinds.reference
            else words.points(kinds.difference(key, twin), rate),
        }
        for twin in kinds.twins
    ]


def _data(kinds: Kinds, key: Key) -> dict[str, Any]:
    seeds = list(kinds.runs)
    rows = [
        [twin, seed, float(value)]
        for twin in kinds.twins
        for seed, value in zip(seeds, kinds.values[key][twin], strict=True)
    ]
    name = "-".join(filter(None, (key.probe, key.params, key.metric, key.eps)))
    safe = "".join(c if c.isalnum() or c in "-._" else "_" for c in name)
    return {"file": f"{safe}.csv", "head": ["twin", "seed", key.metric], "rows": rows}


def _lines(kinds: Kinds, twin: str) -> str:
    import json

    return json.dumps(kinds.about["recipes"][twin], indent=1)
