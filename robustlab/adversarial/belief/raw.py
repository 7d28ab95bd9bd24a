"""Raw independent runs on a few images: nothing shared between budgets, so that curves can betray
an attack that fails.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from robustlab.adversarial.belief.suspect import Suspect
from robustlab.adversarial.losses import correct
from robustlab.errors import BadRequest
from robustlab.outcome import Finding, Level

__all__ = ["LADDER", "PGD", "STEPS", "raw", "too_many"]

# Ascending; from the last every 8-bit image reaches plain grey.
LADDER = ("1/255", "4/255", "16/255", "64/255", "128/255")
STEPS = 10
PGD = {"steps": STEPS, "loss": "margin"}


def too_many(count: int, n: int) -> Level:
    """Paired counts above zero are amber, and red beyond max(2 images, 1 %)."""
    return "red" if count > max(2, 0.01 * n) else "amber"


def raw(suspect: Suspect) -> Iterator[Finding]:
    """eps = 0 against clean accuracy; more budget must not fool less; grey must be reachable."""
    right = correct(suspect.logits, suspect.y).cpu().numpy()
    try:
        untouched = ~suspect.fooled_by("pgd", "0", **PGD)
        ladder = [~suspect.fooled_by("pgd", eps, **PGD) for eps in LADDER]
    except BadRequest:
        return  # no gradient at all: another detector says so
    doubted = False
    for one in (_at_zero(suspect, right, untouched), _rises(ladder), _beyond_grey(suspect, ladder)):
        if one is not None:
            doubted = True
            yield one
    if not doubted:
        yield Finding(
            "raw",
            "green",
            f"On {{of}} images PGD of {STEPS} steps, run afresh at each eps, fools no image at "
            "eps 0, no fewer with more budget, and at 128/255 (Linf) as many as a grey image does.",
            (),
            0,
            len(right),
        )


def _at_zero(
    suspect: Suspect, right: NDArray[np.bool_], untouched: NDArray[np.bool_]
) -> Finding | None:
    odd = right != untouched
    if not odd.any():
        return None
    return Finding(
        "raw",
        "red",
        "at eps 0 {count} of {of} images have another verdict than untouched: the attack does not "
        "see the network that is judged.",
        suspect.named(torch.from_numpy(odd)),
        int(odd.sum()),
        len(right),
    )


def _rises(ladder: list[NDArray[np.bool_]]) -> Finding | None:
    """Paired: images that stand at a larger eps and fell at a smaller one, less the reverse."""
    worst = 0
    for small, large in itertools.pairwise(ladder):
        worst = max(worst, int((large & ~small).sum()) - int((small & ~large).sum()))
    if worst <= 0:
        return None
    n = len(ladder[0])
    return Finding(
        "raw",
        too_many(worst, n),
        f"with more budget PGD of {STEPS} steps fools {{count}} of {{of}} images fewer (run "
        "afresh at each eps): it is led astray by gradients that do not lead to the boundary.",
        (),
        worst,
        n,
    )


def _beyond_grey(suspect: Suspect, ladder: list[NDArray[np.bool_]]) -> Finding | None:
    """Within 128/255 of every image lies plain grey: only its class can still be right there."""
    if not suspect.data.is_8bit:
        return None
    grey = torch.full_like(suspect.x[:1], 0.5)
    same = (suspect.y == int(suspect.judge.logits(grey).argmax(dim=1))).cpu().numpy()
    left = int((ladder[-1] & ~same).sum())
    if not left:
        return None
    n = len(same)
    return Finding(
        "raw",
        too_many(left, n),
        f"at 128/255 (Linf) every image can be made plain grey, yet PGD of {STEPS} steps leaves "
        "{count} of {of} images right that grey would fool: the attack fails, not the network "
        "holds.",
        (),
        left,
        n,
    )
