"""The names below an axis of layers."""

from __future__ import annotations

import pytest

from robustlab.reporting.layer_axis import WIDTHS, evenly, short


@pytest.mark.parametrize(("many", "most"), [(1, 12), (12, 12), (13, 12), (500, 30)])
def test_both_ends_are_among_the_places(many, most):
    places = evenly(many, most)
    assert places[0] == 0
    assert places[-1] == many - 1
    assert len(places) == min(many, most)
    assert places == sorted(set(places))


@pytest.mark.parametrize("letters", [letters for _, letters, _ in WIDTHS.values()])
def test_names_that_differ_at_either_end_stay_apart(letters):
    names = [f"{front}.a.very.long.way.to.{end}" for front in "pq" for end in ("conv", "relu")]
    assert len({short(name, letters) for name in names}) == 4
    assert all(len(short(name, letters)) <= letters for name in names)
    assert short("layer2.1.relu2", letters) == "layer2.1.relu2"  # blocks of a ResNet stay apart
