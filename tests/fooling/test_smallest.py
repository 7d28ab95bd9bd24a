"""The smallest budget that works, and sizes in grey levels."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

import robustlab
from robustlab.fooling.pictures import from_data
from robustlab.fooling.search import Scene, measure, within
from robustlab.fooling.smallest import smallest
from robustlab.fooling.tale import Request, stage

pytestmark = pytest.mark.usefixtures("forget", "one_thread")

fool = partial(robustlab.fool, evidence=False)
DIGIT = "digits:test#3"  # a six


def test_bisection_finds_the_first_level_that_works(lenet):
    """On a judge that is known: everything from 7 levels on works."""
    scene, _, asked = stage(from_data(DIGIT), lenet, Request(8, 0.2))
    whole, tried = Scene.search, []

    def known(self, asked, eps):
        levels = round(float(asked.made(eps, 8).budgets((1, 32, 32))[0].value * 255))
        tried.append(levels)
        pixels = np.where(self.pixels > 127, self.pixels - levels, self.pixels + levels)
        return replace(start, pixels=pixels.astype(np.uint8), hit=levels >= 7)

    start = whole(scene, asked, "0.2")
    try:
        Scene.search = known
        best, tries = smallest(scene, asked, known(scene, asked, "51/255"))
    finally:
        Scene.search = whole
    assert measure(best.pixels, scene.pixels).linf == 7
    assert tries == len(tried) - 1 <= 6


def test_sizes_in_grey_levels():
    clean = np.zeros((3, 2, 2), np.uint8)
    changed = clean.copy()
    changed[0, 0, 0], changed[1, 0, 0], changed[2, 1, 1] = 3, 4, 12
    found = measure(changed, clean)
    assert (found.linf, found.l1, found.l0, found.pixels) == (12, 19.0, 2, 4)
    assert found.l2 == pytest.approx(13.0)
    assert within(changed, clean, "linf", 12 / 255)
    assert not within(changed, clean, "linf", 11 / 255)
    assert within(changed, clean, "l2", 13 / 255)
    assert not within(changed, clean, "l2", 12.9 / 255)
    assert within(changed, clean, "l0", 2)
    assert not within(changed, clean, "l0", 1)
    assert not within(changed[:, :1], clean, "linf", 1.0)
