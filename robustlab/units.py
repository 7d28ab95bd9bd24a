"""Norms and budgets as people write them: ``linf``, ``"8/255"``, ``0.03``.

Linf, L2 and L1 budgets are in units of the [0, 1] pixel scale; L0 budgets are whole numbers of
pixels, spatial ones pixels of translation (``"5px"`` or ``"5"``). A budget keeps the text it was
given in, because that text is its name in tables, in gates and in
``found.robust_accuracy["8/255"]``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from robustlab.errors import BadRequest, choices

__all__ = [
    "NORMS",
    "NORM_TITLES",
    "SPATIAL",
    "Budget",
    "eps_value",
    "parse_budget",
    "parse_budgets",
    "parse_norm",
]

NORMS = ("linf", "l2", "l1", "l0")
SPATIAL = "spatial"  # no ball of pixels: the image is turned and moved
NORM_TITLES = {"linf": "Linf", "l2": "L2", "l1": "L1", "l0": "L0", SPATIAL: "translation"}
_PIXELS = "px"
_COUNTED = ("l0", SPATIAL)  # in pixels


@dataclass(frozen=True, order=True)
class Budget:
    """One eps: its value on the [0, 1] scale, in L0 in pixels, and the text it was given in."""

    value: float
    text: str


def parse_norm(norm: str) -> str:
    """The norm's key, as ``"linf"``; upper case, ``"inf"``, ``"2"``, ``"1"`` and ``"0"`` work."""
    key = str(norm).strip().lower().replace("_", "").replace("∞", "inf")
    if key == SPATIAL:
        return key
    key = key if key.startswith("l") else f"l{key}"
    if key not in NORMS:
        raise BadRequest(f"unknown norm {norm!r}{choices(key, (*NORMS, SPATIAL))}")
    return key


def parse_budget(
    eps: str | float | int, norm: str, size: int | None = None, pixels: int | None = None
) -> Budget:
    """Read one eps.

    Args:
        eps: a number, or text as ``"0.03"`` or ``"8/255"``; in L0 and spatial as ``"5px"``.
        norm: one of `NORMS`, or `SPATIAL`.
        size: number of pixel values of an image (C x H x W); bounds L2 by its square root and L1
            by it.
        pixels: number of pixel positions (H x W), which bounds L0; of a spatial budget pixels of
            the image's shorter side, which bounds a translation.

    Raises:
        BadRequest: not a number, negative, not finite, or larger than the whole [0, 1] box; in L0
            not a whole number.
    """
    text = str(eps).strip()
    if isinstance(eps, bool):
        raise BadRequest(f"eps {text!r} is not a number")
    try:
        value = eps_value(text) if norm in _COUNTED else _number(text)
    except (ValueError, ZeroDivisionError):
        raise BadRequest(f"eps {text!r} {_written(text, norm)}") from None
    if not math.isfinite(value) or value < 0:
        raise BadRequest(f"eps {text!r} must be finite and at least 0")
    if norm in _COUNTED:
        return _pixels(value, text, norm, pixels)
    largest = {"linf": 1.0, "l2": math.sqrt(size or math.inf), "l1": float(size or math.inf)}[norm]
    if value > largest:
        levels = value <= 255 * largest and "/" not in text
        hint = f"; did you mean '{text}/255'?" if levels else ""
        raise BadRequest(
            f"eps {text} ({NORM_TITLES[norm]}) is larger than the whole box of images in [0, 1] "
            f"({largest:g}){hint}"
        )
    return Budget(value, text)


def eps_value(text: str) -> float:
    """The value of an eps as it was written, in whatever unit.

    Raises:
        ValueError, ZeroDivisionError: not a number.
    """
    return _number(text.removesuffix(_PIXELS).strip())


def _number(text: str) -> float:
    if "/" not in text:
        return float(text)
    above, below = text.split("/")  # 0.5/255 is half a grey level
    return float(Fraction(above) / Fraction(below))


def _written(text: str, norm: str) -> str:
    """What is wrong with a text that is no number, and what to write."""
    if norm in _COUNTED:
        return "is not a number; write pixels, as '5px' or '5'"
    scale = "write a decimal or a fraction, as '0.03' or '8/255'"
    if text.endswith(_PIXELS):
        return f"counts pixels, as norm = 'l0' and 'spatial' do; in {NORM_TITLES[norm]} {scale}"
    return f"is not a number; {scale}"


def _pixels(value: float, text: str, norm: str, most: int | None) -> Budget:
    """A budget in pixels."""
    if norm == SPATIAL:
        if most is not None and value >= most:
            raise BadRequest(
                f"eps {text!r} moves an image of {most} pixels out of sight; take fewer pixels"
            )
        return Budget(value, text)
    if not value.is_integer():
        raise BadRequest(f"eps {text!r} (L0) is no whole number of pixels; write '5px' or '5'")
    if most is not None and value > most:
        raise BadRequest(f"eps {text} (L0) is more than the {most} pixels of an image")
    return Budget(value, text)


def parse_budgets(
    eps: str | float | Sequence[str | float],
    norm: str,
    size: int | None = None,
    pixels: int | None = None,
) -> tuple[Budget, ...]:
    """Read an eps or a list of them, in the order given; two of the same value are refused."""
    given = [eps] if isinstance(eps, str | float | int) else list(eps)
    if not given:
        raise BadRequest("eps is an empty list; give at least one budget, as ['8/255']")
    budgets = tuple(parse_budget(one, norm, size, pixels) for one in given)
    for index, budget in enumerate(budgets):
        for other in budgets[:index]:
            if other.value == budget.value:
                raise BadRequest(f"eps {other.text!r} and {budget.text!r} are the same budget")
    return budgets
