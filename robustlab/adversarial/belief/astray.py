"""Did the walk lead towards a mistake at all?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from robustlab.adversarial.belief.case import Case
from robustlab.outcome import Finding

__all__ = ["astray"]

_FEW, _SOME, _MOST = 2, 0.25, 0.5


def astray(case: Case) -> Iterator[Finding]:
    """Images left standing for which nothing that a gradient attack gave back, at any eps, came
    nearer to a mistake than the clean image (by the margin on the original network).

    So ends a walk whose sign is wrong, or that aims at the true label. A single step may overshoot
    on some images: doubted are a quarter of them, and more than two; half of them is red. One
    perturbation learned for all need not lead every image nearer, and leaves those standing that it
    does not: there the images that it broke are counted in, and half of all is doubted, since sound
    ones lead up to 39 % away, and their opposites 37 to 64 %. In L0 nothing is told of them: what a
    square covers matters more than where its content leads. Sound ones of 1 to 64 pixels lead 60 to
    14 % away, and their opposites as many. A search on other networks is not looked at: it may lead
    nowhere on this one.
    """
    if case.attack.learns and case.found.norm == "l0":
        return
    stages = [stage for _, _, stage in case.stages()]
    if any(s.minimum_norm for s in stages) or not any(map(case.follows_gradients, stages)):
        return  # attacks for the smallest perturbation give the clean image where they find none
    index = int(np.argmax(case.budgets))
    # What was outside the budget was not looked at; where nothing moved another detector speaks.
    sent = case.found.attackable if case.attack.learns else case.standing[index]
    stood = sent & case.found.searched.any(axis=0) & ~case.found.invalid
    rows = np.flatnonzero(stood)
    if not len(rows) or not case.found.moved.any():
        return
    lost = np.zeros_like(stood)
    for part in np.array_split(rows, -(-len(rows) // 256)):
        same = case.candidates(index, part) == case.images(part)[0]
        lost[part] = same.flatten(1).all(dim=1).cpu().numpy()
    count, of = int(lost.sum()), len(rows)
    if count > max(_FEW, (_MOST if case.attack.learns else _SOME) * of):
        yield Finding(
            "astray",
            "red" if count > _MOST * of else "amber",
            "on {count} of {of} images left standing nothing that the search gave back was nearer "
            "to a mistake than the clean image: it is led astray, or its sign or its target is "
            "wrong. See whether one step on one image raises the margin.",
            case.named(lost),
            count,
            of,
        )
        return
    yield Finding(
        "astray",
        "green",
        "On most images left standing the search came nearer to a mistake than the clean image.",
    )
