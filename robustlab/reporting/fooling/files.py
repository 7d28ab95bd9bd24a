"""What a folder of a fooled picture holds beside the pictures: how they look, figures, the page."""

from __future__ import annotations

import json
import math
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robustlab import atomic
from robustlab.fooled import Fooled
from robustlab.reporting.fooling.page import write_fooled
from robustlab.reporting.fooling.triptych import triptych
from robustlab.reporting.pixels import magnified, png

__all__ = ["figures", "write_told"]

_PIXELS = ("original", "changed", "smallest_changed", "maps")  # files of their own, or on the page


def write_told(fooled: Fooled, folder: Path) -> None:
    """How it looks, ``report.html``, and ``fooled.json``, the last to land."""
    shown, factor = magnified(fooled.original, fooled.changed)
    atomic.write(folder / "perturbation.png", png(shown))
    atomic.write(folder / "triptych.png", triptych(fooled))
    way = folder / "way.png"
    write_fooled(fooled, folder / "report.html", way=way.read_bytes() if way.exists() else b"")
    told = {**figures(fooled), "perturbation.png is magnified by": factor}
    text = json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False)
    atomic.write(folder / "fooled.json", text.encode())


def figures(fooled: Fooled) -> dict[str, Any]:
    """All numbers and words of ``fooled``, JSON-able; what is not a number is null."""
    names = [one.name for one in fields(fooled) if one.name not in _PIXELS]
    found = {name: _plain(getattr(fooled, name)) for name in names}
    return {"succeeded": fooled.succeeded, **found}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
