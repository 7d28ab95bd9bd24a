"""The page does not take the search's word: it counts again, from the pixels it shows."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from robustlab.errors import BadRequest
from robustlab.fooled import Check, Fooled, Pixels, Reading, Size
from robustlab.reporting.fooling.words import budget, count, number
from robustlab.units import eps_value

__all__ = ["measured", "recounted"]


def measured(original: Pixels, changed: Pixels) -> Size:
    """How large the perturbation between two uint8 [C, H, W] is, in grey levels.

    Raises:
        BadRequest: pictures of different shapes, or not of 8 bits.
    """
    for one in (original, changed):
        if one.dtype != np.uint8 or one.ndim != 3 or one.shape != original.shape or not one.size:
            raise BadRequest(
                f"the pictures are {original.dtype} {list(original.shape)} and {changed.dtype} "
                f"{list(changed.shape)}; both must be uint8 [C, H, W] of one size, at least 1 x 1"
            )
    apart = np.where(changed > original, changed - original, original - changed)
    # How many values have moved by each of 0 to 255 levels: exact, and light on large pictures.
    counts = np.sum([np.bincount(one.ravel(), minlength=256) for one in apart], axis=0)
    levels = np.arange(256)
    total = int(counts @ levels)
    return Size(
        linf=int(counts.nonzero()[0].max()),
        l2=math.sqrt(int(counts @ levels**2)),
        l1=float(total),
        l0=int(apart.any(axis=0).sum()),
        pixels=original[0].size,
        mean=total / original.size,
    )


def recounted(fooled: Fooled) -> list[Check]:
    """What the page itself found: sizes as told, within the budget, readings that fit together."""
    found = measured(fooled.original, fooled.changed)
    checks = [_sizes(fooled, found), _budget(fooled, found), _smallest(fooled), _names(fooled)]
    checks += [_reading("original", fooled.before), _reading("changed picture", fooled.after)]
    return [one for one in checks if one is not None]


def _sizes(fooled: Fooled, found: Size) -> Check:
    told = fooled.size
    exact = (found.linf, found.l0, found.pixels) == (told.linf, told.l0, told.pixels)
    pairs = ((found.l2, told.l2), (found.l1, told.l1), (found.mean, told.mean))
    alike = exact and all(math.isclose(x, y, rel_tol=1e-3, abs_tol=1e-6) for x, y in pairs)
    return Check(
        "Is the perturbation as small as is told?",
        alike,
        f"counted again for this page: {count(found.l0, 'pixel')} of {number(found.pixels)} "
        f"changed, none of their values by more than {count(found.linf, 'grey level')}"
        + ("" if alike else f"; told were {number(told.l0)} and {number(told.linf)}"),
    )


def _budget(fooled: Fooled, found: Size) -> Check | None:
    """None where the norm is no ball of pixels, or the eps cannot be read."""
    spent = {"linf": found.linf / 255, "l2": found.l2 / 255, "l1": found.l1 / 255, "l0": found.l0}
    try:
        allowed = eps_value(fooled.eps)
    except (ValueError, ZeroDivisionError):
        return None
    if fooled.norm not in spent:
        return None
    used = float(spent[fooled.norm])
    unit = "pixels" if fooled.norm == "l0" else "of the scale from black to white"
    return Check(
        "Does it keep to the budget?",
        used <= allowed * (1 + 1e-9),
        f"counted again for this page: {used:.4g} {unit} is used, allowed is {allowed:.4g} "
        f"({budget(fooled)})",
    )


def _smallest(fooled: Fooled) -> Check | None:
    """Only where it fails: the smallest picture must be as small as its size says."""
    if fooled.smallest is None or fooled.smallest_changed is None:
        return None
    found, told = measured(fooled.original, fooled.smallest_changed), fooled.smallest
    if (found.linf, found.l0) == (told.linf, told.l0):
        return None
    return Check(
        "Is the smallest perturbation as small as is told?",
        False,
        f"counted again: {count(found.l0, 'pixel')}, {count(found.linf, 'grey level')}; told were "
        f"{number(told.l0)} and {number(told.linf)}",
    )


def _names(fooled: Fooled) -> Check | None:
    """Only where it fails: the class that was told must be the one that was read."""
    if fooled.before.top[0][1] == fooled.label:
        return None
    return Check(
        "Is the class of the original the one that was read?",
        False,
        f"told is “{fooled.label}”, read was “{fooled.before.top[0][1]}”",
    )


def _reading(name: str, one: Reading) -> Check | None:
    """Only where it fails: the likeliest must come first, and shares cannot exceed the whole."""
    found = [p for _, _, p in one.top]
    falling = all(a >= b for a, b in pairwise(found))
    whole = all(0.0 <= p <= 1.0 for p in found) and sum(found) <= 1.0 + 1e-3
    if falling and whole:
        return None
    told = ", ".join(f"{p:.4g}" for p in found)
    return Check(f"Are the probabilities of the {name} probabilities?", False, f"told are {told}")
