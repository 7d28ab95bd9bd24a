"""The smallest budget that still does it at 8 bits, by bisection with the file's reader as judge.

In Linf over whole grey levels, so that the answer is exact where a larger budget never does worse
(attacks do not promise it: a smaller one may have been missed). In other norms over eps, until two
neighbours differ by less than a twentieth.
"""

from __future__ import annotations

from robustlab.fooling.asked import Asked
from robustlab.fooling.search import Candidate, Scene, measure

__all__ = ["smallest"]

_CLOSE = 1.05  # ratio of two budgets that are not told apart


def smallest(scene: Scene, asked: Asked, found: Candidate) -> tuple[Candidate, int]:
    """The success with the smallest budget, ``found`` at worst; and how many searches it took.

    Args:
        found: a success at the budget asked for.
    """
    if asked.norm == "linf":
        return _by_levels(scene, asked, found, measure(found.pixels, scene.pixels).linf)
    return _by_eps(scene, asked, found)


def _by_levels(scene: Scene, asked: Asked, best: Candidate, high: int) -> tuple[Candidate, int]:
    low, tries = 0, 0
    while high - low > 1:
        middle = (low + high) // 2
        tried = scene.search(asked, f"{middle}/255")
        tries += 1
        if tried.hit:
            best, high = tried, measure(tried.pixels, scene.pixels).linf
        else:
            low = middle
    return best, tries


def _by_eps(scene: Scene, asked: Asked, best: Candidate) -> tuple[Candidate, int]:
    counted = asked.norm == "l0"
    low, high, tries = 0.0, asked.budget.value, 0
    while high - low > 1 if counted else high > _CLOSE * low and high > 1 / 255:
        # Budgets span orders of magnitude: below the first failure by ratios, above it by halves.
        middle = high / 2 if low == 0 else (low + high) / 2
        middle = float(int(middle)) if counted else middle
        tried = scene.search(asked, f"{middle:.6g}")
        tries += 1
        if tried.hit:
            best, high = tried, middle
        else:
            low = middle
    return best, tries
