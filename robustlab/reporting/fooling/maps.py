"""What in the pictures speaks for the class that is said of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlab.fooled import Fooled
from robustlab.reporting.fooling.words import quoted
from robustlab.reporting.pixels import data_uri
from robustlab.verdict import code

__all__ = ["maps"]

Arrays = Mapping[str, NDArray[Any]]

SIDE = 128  # pixels of a map in the page, at most
SIDES = ("clean", "changed", "control")


def maps(fooled: Fooled) -> dict[str, Any] | None:
    """What speaks for the class that is said; None where it was not asked."""
    held = fooled.maps
    methods = [k.removeprefix("clean_") for k in held if k.startswith("clean_")]
    methods = [m for m in methods if f"changed_{m}" in held]
    if not methods:
        return None
    sides = [side for side in SIDES if all(f"{side}_{m}" in held for m in methods)]
    likeness = {k: _likeness(held, k) for k in ("changed", "control")}
    return {
        "title": _moved(likeness["changed"], fooled),
        "sides": sides,
        "rows": [
            {
                "name": method,
                "pictures": [data_uri(_picture(held[f"{side}_{method}"])) for side in sides],
                "changed": _signed(likeness["changed"].get(method)),
                "control": _signed(likeness["control"].get(method)),
            }
            for method in methods
        ],
        "left_out": [[str(x) for x in one] for one in held.get("left_out", ()) if len(one) == 2],
        "compared": bool(likeness["changed"]),
        "randomised": bool(likeness["control"]),
    }


def _likeness(held: Arrays, side: str) -> dict[str, float]:
    values = held.get(f"{side}_likeness")
    if values is None or "methods" not in held:
        return {}
    names = [str(m) for m in held["methods"]]
    return dict(zip(names, np.asarray(values, dtype=float).tolist(), strict=False))


def _signed(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:+.2f}".replace("-", "\u2212") if math.isfinite(value) else "not defined"


def _moved(likeness: Mapping[str, float], fooled: Fooled) -> str:
    held = {m: v for m, v in likeness.items() if math.isfinite(v)}
    if not held:
        first, then = fooled.before.top[0][1], fooled.after.top[0][1]
        return f"What speaks for {quoted(first)} before, and for {quoted(then)} after"
    most, least = max(held, key=lambda m: held[m]), min(held, key=lambda m: held[m])
    if most == least:
        return f"{code(most)} correlates {_signed(held[most])} between the two pictures"
    return (
        f"Between the two pictures {code(most)} changes least (rank correlation "
        f"{_signed(held[most])}), {code(least)} most ({_signed(held[least])})"
    )


def _picture(values: NDArray[Any]) -> NDArray[np.uint8]:
    """A map [C, H, W] summed over its channels: grey is zero, bright speaks for the class.

    The scale ends at the 99th percentile of magnitudes, so that a few values do not hide the rest.
    """
    flat = np.nan_to_num(
        np.asarray(values, dtype=float).reshape(-1, *values.shape[-2:]).sum(axis=0)
    )
    every = max(1, math.ceil(max(flat.shape) / SIDE))
    height, width = (side // every * every for side in flat.shape)
    blocks = flat[:height, :width].reshape(height // every, every, width // every, every)
    small = blocks.mean(axis=(1, 3))
    end = float(np.quantile(np.abs(small), 0.99)) or float(np.abs(small).max()) or 1.0
    return np.asarray((128 + 127 * np.clip(small / end, -1, 1)).round(), dtype=np.uint8)
