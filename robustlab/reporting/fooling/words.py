"""How the page of one picture writes names, probabilities, budgets and sizes."""

from __future__ import annotations

import math
import unicodedata

from robustlab.fooled import Fooled
from robustlab.units import NORM_TITLES

__all__ = [
    "NOTHING",
    "a",
    "budget",
    "chance",
    "count",
    "joined",
    "network_name",
    "number",
    "plain_name",
    "quoted",
]

# Pictures that show nothing: what the network called them before is no label.
NOTHING = {"noise": "noise", "black": "a black picture", "white": "a white picture"}
_LETTERS = 60


def plain_name(name: str) -> str:
    """A class or a file's name on one line, without signs that turn the writing direction."""
    shown = "".join(" " if unicodedata.category(c)[0] == "C" else c for c in str(name))
    shown = " ".join(shown.split()).replace("`", "'")
    return shown if len(shown) <= _LETTERS else f"{shown[: _LETTERS - 1]}…"


def quoted(name: str) -> str:
    """What a network calls something, in quotation marks: “giant panda”."""
    return f"“{plain_name(name)}”"


def network_name(name: str) -> str:
    """How sentences call a network: of a file with its builder the builder, else all of it."""
    file, hash_, builder = name.partition("#")
    return plain_name(builder if hash_ and builder and file.startswith("file:") else name)


def a(name: str) -> str:
    """With its article: a “vulture”, an “albatross”, an “8”."""
    first = plain_name(name)[:1].lower()
    return f"{'an' if first in tuple('aeiou8') else 'a'} {quoted(name)}"


def chance(probability: float) -> str:
    """``97.3 %``; rounding must make neither certainty nor impossibility."""
    if not math.isfinite(probability):
        return "not recorded"
    if probability > 0.9994:
        return "over 99.9 %"
    return "under 0.1 %" if probability < 0.0005 else f"{100 * probability:.1f} %"


def number(value: float) -> str:
    """Four significant digits, thousands apart: ``150 528``, ``3.742``."""
    if not math.isfinite(value):
        return str(value)
    if abs(value) >= 1000 or float(value).is_integer():
        return f"{round(value):,}".replace(",", "\u202f")
    return f"{value:.4g}"


def count(many: float, noun: str) -> str:
    """``1 level``, ``2 levels``, ``150 528 pixels``; the noun is given in the singular."""
    return f"{number(many)} {noun}{'' if many == 1 else 's'}"


def joined(parts: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def budget(fooled: Fooled) -> str:
    """``1/255``, ``eps 0.5 (L2)``: the eps as it was given."""
    eps = plain_name(fooled.eps)
    if fooled.norm == "linf":
        return eps if "/" in eps else f"eps {eps}"
    return f"eps {eps} ({NORM_TITLES.get(fooled.norm, plain_name(fooled.norm))})"
